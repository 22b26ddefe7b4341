"""Errors that are the user's to mend: one line that names the thing, what is wrong and what to do.

    PipelineError
    ├── ConfigError      params.yaml or an environment variable
    ├── DataError        an image, a table, a folder of the cohort
    │   └── LeakError    a patient, or identical pixels, on both sides of a split
    ├── ModelError       weights, spec or scores that do not belong together
    ├── DownloadError    the service the cohort is fetched from refuses
    └── UnreachableError a service does not answer
        └── TrackingError    the MLflow address
            └── RefusedError     it answers, and refuses this account

`python -m pipeline` prints the line and exits with status 2, or 75 where the same command may work later. So it does with what
the operating system refuses (`refusal`), memory among it (`is_for_want_of_memory`).
Anything else that is raised is a bug and keeps its traceback.
"""

import errno
import re

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it
# The user's to mend, whatever was being read or written; and how.
REFUSALS = {
    **dict.fromkeys(FULL, "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "let your account at it (files of another user?)"),
    errno.EROFS: "mount it for writing",
    errno.EMFILE: "allow more open files (ulimit -n 4096)",
    errno.ENFILE: "allow the machine more open files, or end other programs",
    errno.EFBIG: "allow larger files (ulimit -f unlimited)",
    errno.ENAMETOOLONG: "shorten the name, or take a place with a shorter path",
    errno.ENOTDIR: "a file lies where a folder is needed: move it away",
    errno.EISDIR: "a folder lies where a file is needed: move it away",
    errno.EBUSY: "mount the folder that it lies in instead, or end what uses it",
    errno.EIO: "look at the disk",
    errno.ESTALE: "look at the network drive",
}
WANT_OF_MEMORY = "not enough memory; end other programs, or allow more (ulimit -v), and run it again"
# In the words of the C library, its loader, C++, Python's threads, Python where a call in C got none, and TensorFlow.
_NO_MEMORY = re.compile(
    r"cannot allocate memory|failed to map segment|bad_alloc|can't start new thread|error return without exception set"
    r"|OOM when allocating|out of memory",
    re.I,
)


def refusal(error: BaseException | None) -> OSError | None:
    """What the operating system refused, where an error is that or was raised from it; libraries wrap it in their own."""
    if error is None or (isinstance(error, OSError) and error.errno in REFUSALS):
        return error
    return refusal(error.__cause__)


def is_for_want_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came of, says that the machine gave no more memory; libraries make many kinds of it."""
    before = error.__cause__ or error.__context__
    return (
        isinstance(error, MemoryError)
        or _NO_MEMORY.search(str(error)) is not None
        or (before is not None and is_for_want_of_memory(before))
    )


class PipelineError(Exception):
    """Base of all errors whose message is written for the user: on one line, whatever a name in it holds."""

    status = 2

    def __str__(self) -> str:
        """The message, in which what no terminal should act upon (line ends, escapes) is written out."""
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in super().__str__())


class ConfigError(PipelineError):
    """A parameter or environment variable is missing, unknown or out of range."""


class DataError(PipelineError):
    """The cohort does not hold what the pipeline needs."""


class LeakError(DataError):
    """Something that must stay on one side of a split is on both."""


class ModelError(PipelineError):
    """Weights, spec or scores that do not belong together, or a training that cannot go on."""


class DownloadError(PipelineError):
    """The service refuses, or does not know the data set."""


class UnreachableError(PipelineError):
    """A service does not answer: worth another try."""

    status = 75  # EX_TEMPFAIL of sysexits.h


class TrackingError(UnreachableError):
    """The MLflow address does not answer or refuses."""


class RefusedError(TrackingError):
    """The MLflow address refuses this account: another try would change nothing."""

    status = 2
