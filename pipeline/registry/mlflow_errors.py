"""What an error of MLflow's means: that it is away, that something is gone, or that the operating system refused.

MLflow wraps what its server, its database and the system say in errors of its own, which differ in their words alone.
"""

from __future__ import annotations

import errno
import re
import sqlite3

import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from pipeline.common import errors

_AWAY = re.compile(r"failed with (timeout )?exception|failed with error code (401|403|413|429|5\d\d)|database is locked")
_NO_ADDRESS = re.compile(r"No connection adapters|Invalid URL|Failed to parse")  # of requests, within MLflow's own words
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_DELETED = re.compile(
    r"not found|does not exist|No such artifact|'?active'? (lifecycle_stage|state)|is deleted|deleted state", re.I
)
_OF_FILES = (errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)  # that are not what they should be
_OF_THE_SYSTEM = re.compile(r"\[Errno (\d+)\] ([^:\n]+)(?:: '([^'\n]+)')?(?: -> '([^'\n]+)')?")


def went_away(error: Exception) -> bool:
    """Whether an error is the server's absence or refusal, in the words of MLflow's client, rather than a bug."""
    if _NO_ADDRESS.search(str(error)):
        return False
    if isinstance(error, requests.RequestException):
        return True
    in_a_file = isinstance(error, sqlite3.Error) or "(sqlite3." in str(error)  # which is there, or the user's to mend
    if isinstance(error, OperationalError | sqlite3.OperationalError) or "OperationalError" in str(error):
        return not in_a_file or "database is locked" in str(error)
    return isinstance(error, MlflowException) and _AWAY.search(str(error)) is not None


def is_gone(error: Exception) -> bool:
    """Whether MLflow says that what was asked for is deleted or was never there."""
    return isinstance(error, MlflowException) and error.error_code in _GONE and _DELETED.search(str(error)) is not None


def refusal(error: Exception) -> OSError | None:
    """What the operating system refused here, if it did: of files that MLflow fetches it tells that in words alone."""
    if known := errors.refusal(error):
        return known
    told = _OF_THE_SYSTEM.search(str(error))
    return OSError(int(told[1]), told[2], told[3], None, told[4]) if told and int(told[1]) in errors.REFUSALS else None


def is_of_what_was_asked(error: Exception) -> bool:
    """Whether files that could not be had or read are themselves at fault, gone or damaged, and not a server or a machine."""
    refused = refusal(error)
    of_the_machine = refused is not None and refused.errno not in _OF_FILES
    return not (went_away(error) or of_the_machine or errors.is_for_want_of_memory(error))
