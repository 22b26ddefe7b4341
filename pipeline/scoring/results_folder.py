"""The folder that results about strangers go to: found free and made before hours of work, there in one step after them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.common.errors import FULL, DataError
from pipeline.common.files import folder_in_one_step


def require_free(target: Path, is_earlier: Callable[[set[str]], bool], what: str) -> None:
    """Refuse to replace what lies at the target, but an earlier `what`, told by the names in it, and nothing else.

    Raises:
        DataError: something else lies there.
    """
    if os.path.lexists(target):
        names = {entry.name for entry in target.iterdir()} if target.is_dir() else {""}
        if names and not is_earlier(names):
            raise DataError(f"{target}: exists and is no earlier {what}; name another folder with --output")


@contextmanager
def gathered(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, which takes its place in one step.

    Raises:
        DataError: it cannot be made there.
    """
    target = target.resolve()
    with ExitStack() as made:
        try:
            unfinished = made.enter_context(folder_in_one_step(target))
        except OSError as error:
            if error.errno in FULL:
                raise
            raise DataError(f"{target}: cannot be made ({error.strerror}); name another folder with --output") from None
        yield unfinished
