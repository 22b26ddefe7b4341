"""`python -m infra.objects save FOLDER`: the team's S3 store (MLflow's artifacts, DVC's remote) as files, and back.

The store and its credentials are AWS_ENDPOINT_URL and AWS_SHARED_CREDENTIALS_FILE. Only what is missing, or has
another size, is copied, and nothing is deleted: neither MLflow nor DVC writes a file a second time.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from fsspec.generic import rsync

BUCKET = "pipeline"


def save(folder: Path) -> int:
    """Copy the bucket to `folder`; the number of files that are there now."""
    folder.mkdir(parents=True, exist_ok=True)
    rsync(f"s3://{BUCKET}", folder.resolve().as_uri())
    return _count(folder)


def restore(folder: Path) -> int:
    """Copy `folder` to the bucket; the number of files in the folder."""
    rsync(folder.resolve().as_uri(), f"s3://{BUCKET}")
    return _count(folder)


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def main(arguments: list[str] | None = None) -> int:
    """Save the store or restore it; 2 when the store or the folder is not there."""
    parser = argparse.ArgumentParser(prog="python -m infra.objects", description="The team's S3 store as files, and back.")
    parser.add_argument("action", choices=("save", "restore"))
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.action == "restore" and not chosen.folder.is_dir():
        sys.stderr.write(f"error: {chosen.folder}: not a folder; name the one that `save` wrote\n")
        return 2
    os.umask(0o077)  # a backup is for its owner alone
    try:
        files = (save if chosen.action == "save" else restore)(chosen.folder)
    except (OSError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"error: s3://{BUCKET}: {str(error).strip() or type(error).__name__}\n")
        return 2
    sys.stdout.write(f"objects: {chosen.action} done, {files:,} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
