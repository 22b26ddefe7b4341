"""A repository of a few commits whose dvc.lock names files that are in DVC's cache; nothing of DVC runs to make it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

IGNORED = (
    ".dvc/cache",
    ".dvc/tmp",
    ".dvc/config.local",
    ".worktrees",
    "models",
    "data/evaluated",
    "comparison",
    "patients.csv",
)


def start() -> None:
    """In this folder, with a first commit."""
    git("init", "--quiet", "--initial-branch=main")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n")
    Path(".gitignore").write_text("\n".join(IGNORED) + "\n")
    commit()


def git(*arguments: str, by: str = "Anna") -> str:
    who = ["-c", f"user.name={by}", "-c", f"user.email={by}@localhost"]
    return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(by: str = "Anna") -> str:
    git("add", "--all")
    git("commit", "--quiet", "--message", "decided", by=by)
    return git("rev-parse", "HEAD")


def decision(digest: str, time: str, kind: str = "champion", **more: object) -> str:
    """A line of data/decisions.jsonl."""
    made = {"time": f"{time}T12:00:00Z", "subtype": "NPM1", "cohort": "drawn", "candidate": "published", "decision": kind}
    of = {"reason": f"because of {digest}", "tried_before": 0, "digest": digest, "weights_sha256": {}, "patients_sha256": ""}
    rest = {"results_md5": "", "commit": "", "dirty": False, "replaced": None}
    return json.dumps(made | of | rest | more) + "\n"


def lock(outs: Mapping[str, bytes | Mapping[str, bytes]]) -> dict[str, str]:
    """Write dvc.yaml and dvc.lock that name these files, and folders of files, all in the cache; their digests."""
    digests = {path: _keep(content) if isinstance(content, bytes) else _keep_folder(content) for path, content in outs.items()}
    stage = {"cmd": "true", "outs": list(outs)}
    locked = {"cmd": "true", "outs": [{"path": path, "hash": "md5", "md5": digest} for path, digest in digests.items()]}
    Path("dvc.yaml").write_text(json.dumps({"stages": {"all": stage}}))
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"all": locked}}))
    return digests


def kept(digest: str) -> Path:
    """Where an object of DVC's cache lies."""
    return Path(".dvc/cache/files/md5") / digest[:2] / digest[2:]


def _keep(content: bytes, ending: str = "") -> str:
    digest = hashlib.md5(content).hexdigest() + ending
    kept(digest).parent.mkdir(parents=True, exist_ok=True)
    kept(digest).write_bytes(content)
    return digest


def _keep_folder(files: Mapping[str, bytes]) -> str:
    rows = [{"md5": _keep(content), "relpath": name} for name, content in sorted(files.items())]
    return _keep(json.dumps(rows).encode(), ".dir")
