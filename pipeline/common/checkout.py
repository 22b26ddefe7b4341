"""What git says of this checkout, in whose root every command runs; nothing where there is no git, or no repository."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

from pipeline.common import console


def git(*arguments: str) -> str:
    """What git says; nothing where it is not installed, or refuses. Where a folder is another user's, that is said."""
    program = shutil.which("git")
    if program is None:
        return ""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if "dubious ownership" in done.stderr:
        _warn_once(f"git: {' '.join(done.stderr.split())}; until then no run says at which commit it was made")
    return done.stdout.strip()


@cache
def _warn_once(text: str) -> None:
    console.warn(text)
