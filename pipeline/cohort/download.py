"""A data set's archive from Kaggle, by Kaggle's own client; the one module that knows `kagglehub`.

The client keeps what came before a connection dropped and asks for the rest on the next call, but neither retries nor
limits what it unpacks, and waits for ever on a silent server. So it is called again while the download grows, it hands over
the archive instead of unpacking it, and its connections get a time limit. Two of its private names are replaced for that,
`http_resolver._extract_archive` and `KaggleHttpClient._init_session`: its version is pinned, and a test says if they go.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pipeline.common import console
from pipeline.common.errors import DownloadError, UnreachableError

T = TypeVar("T")

_ATTEMPTS = 5  # without a byte more than before
_WAIT_S = 2.0  # before the second attempt; doubles
_TIMEOUT_S = (10.0, 60.0)  # to connect, between two pieces of an answer


@dataclass(frozen=True)
class Release:
    """What Kaggle says of a data set: its newest version, and the bytes of its archive (0: unknown)."""

    version: int
    bytes: int


class _Archive(Exception):  # noqa: N818 - not an error: how the client hands over what it would unpack
    def __init__(self, path: Path) -> None:
        self.path = path


def newest(dataset: str) -> Release:
    """Ask for the newest version of `owner/name`.

    Raises:
        DownloadError: the service refuses, or does not know it.
        UnreachableError: it does not answer.
    """
    from kagglehub import clients
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = dataset.split("/")

    def ask() -> Release:
        with clients.build_kaggle_client() as service:
            answer = service.datasets.dataset_api_client.get_dataset(request)
        return Release(int(answer.current_version_number), int(answer.total_bytes or 0))

    with _adapted():
        return _insist(ask, dataset, lambda: 0)


def fetch(dataset: str, version: int, folder: Path) -> Path:
    """The archive of a version, below `folder`; what an earlier attempt left there is completed, not fetched again.

    Raises:
        DownloadError: the version does not exist, the disk is too small, or the service refuses.
        UnreachableError: it does not answer, or the connection keeps dropping.
    """
    os.environ["KAGGLEHUB_CACHE"] = str(folder.resolve())
    os.environ.setdefault("KAGGLEHUB_VERBOSITY", "warning")  # its progress bar stays
    import kagglehub

    release = newest(dataset)
    if version > release.version:
        raise DownloadError(
            f"kaggle: {dataset} has no version {version} (newest: {release.version}); correct ingest.kaggle.version"
        )
    if version < release.version:
        console.warn(f"kaggle: {dataset} has a newer version, {release.version}; params.yaml asks for {version}")
    folder.mkdir(parents=True, exist_ok=True)
    if version == release.version:  # of older ones the size is not known
        _require_room(folder, release.bytes - _size(folder), dataset)

    def call() -> Path:
        try:
            kagglehub.dataset_download(f"{dataset}/versions/{version}")
        except _Archive as archive:
            return archive.path
        raise AssertionError("kagglehub found the data set unpacked in a folder that never holds one")

    console.say(f"fetching {dataset}, version {version}, from Kaggle: {release.bytes / 1e9:,.2f} GB")
    with _adapted():
        return _insist(call, dataset, lambda: _size(folder))


@contextmanager
def _adapted() -> Iterator[None]:
    """The client hands over what it would unpack, and its connections have a time limit."""
    from kagglehub import http_resolver
    from kagglesdk.kaggle_http_client import KaggleHttpClient

    unpack, connect = http_resolver._extract_archive, KaggleHttpClient._init_session

    def hand_over(archive: str, _target: str) -> NoReturn:
        raise _Archive(Path(archive))

    def connect_with_limit(client: Any) -> None:
        connect(client)
        for scheme in ("http://", "https://"):
            adapter = client._session.get_adapter(scheme)
            adapter.send = partial(_send, adapter.send)

    http_resolver._extract_archive, KaggleHttpClient._init_session = hand_over, connect_with_limit
    try:
        yield
    finally:
        http_resolver._extract_archive, KaggleHttpClient._init_session = unpack, connect


def _send(send: Callable[..., Any], request: Any, **settings: Any) -> Any:
    return send(request, **{**settings, "timeout": settings.get("timeout") or _TIMEOUT_S})


def _insist(call: Callable[[], T], dataset: str, received: Callable[[], int]) -> T:
    """Call until it works; give up after some calls in which nothing more was received."""
    import requests
    from kagglehub.exceptions import DataCorruptionError

    before, fruitless = received(), 0
    while True:
        try:
            return call()
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.TOO_MANY_REQUESTS:
                raise DownloadError(_refusal(status, dataset)) from None
            reason = f"answers {status}"
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            reason = "cannot be reached, or the connection dropped"
        except DataCorruptionError:
            reason = "sent bytes that do not match their checksum"
        except requests.RequestException as error:
            raise DownloadError(f"kaggle: the service's answer is not understood ({type(error).__name__}); try later") from None
        except ValueError as error:  # of the credentials file, whose content it does not quote
            raise DownloadError(f"kaggle: {error}; correct or remove it") from None
        now = received()
        fruitless = 0 if now > before else fruitless + 1
        before = now
        if fruitless >= _ATTEMPTS:
            kept = f"; {now / 1e6:,.1f} MB are kept and the next run goes on from there" if now else ""
            raise UnreachableError(
                f"kaggle: the service {reason}, {_ATTEMPTS} times in a row; look at the network, run again{kept}"
            )
        wait = _WAIT_S * 2 ** max(0, fruitless - 1)
        console.warn(f"kaggle: the service {reason}; trying again in {wait:.0f} s ({now / 1e6:,.1f} MB are here)")
        time.sleep(wait)


def _refusal(status: int, dataset: str) -> str:
    credential = _credential()
    if status == HTTPStatus.UNAUTHORIZED:
        if credential:
            return f"kaggle: refuses the credential of {credential}; renew it on kaggle.com, or remove it"
        return f"kaggle: asks for a credential; set KAGGLE_API_TOKEN, or save a token as {Path.home() / '.kaggle/access_token'}"
    if status == HTTPStatus.FORBIDDEN:
        who = f"the credential of {credential}" if credential else "calls without a credential"
        return f"kaggle: kaggle.com/datasets/{dataset} is not open to {who}; accept its terms there, or use another account"
    if status == HTTPStatus.NOT_FOUND:
        return f"kaggle: there is no data set {dataset}, or it is not open to you; correct ingest.kaggle.dataset"
    return f"kaggle: the service refuses {dataset} with status {status}; see kaggle.com/datasets/{dataset}"


def _credential() -> str:
    """Where the credential comes from that the client uses, in its order of preference; never its value."""
    from kagglehub import config
    from kagglesdk.kaggle_env import get_access_token_from_env

    token, found_in = get_access_token_from_env()
    if token:
        return "KAGGLE_API_TOKEN" if found_in == "KAGGLE_API_TOKEN" else f"{Path.home() / '.kaggle/access_token'}"
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    file = Path(os.environ.get("KAGGLE_CONFIG_DIR") or config.DEFAULT_KAGGLE_CREDENTIALS_FOLDER) / config.CREDENTIALS_FILENAME
    return str(file) if file.exists() else ""


def _require_room(folder: Path, needed: int, dataset: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder}: the archive of {dataset} needs {needed / 1e9:,.2f} GB more, {free / 1e9:,.2f} GB are free; make room"
        )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
