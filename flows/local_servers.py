"""Servers on this machine's loopback, which end with the process that started them."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from filelock import FileLock

from flows import ROOT, child_process
from flows.errors import FlowError
from pipeline.common.addresses import first_line, without_account

ANSWER_S = 10.0  # of a server that is there already
_PATIENCE_S = 600.0  # a busy machine takes minutes
_PREFECT = "prefect"
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass(frozen=True)
class Server:
    """A server: its command, where it listens, and the path at which it says that all is well.

    What may hold a password belongs to `variables`: everybody on the machine can read a command.
    """

    name: str
    command: list[str]
    port: int
    health: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address at which people and programs on this machine reach the server."""
        return f"http://127.0.0.1:{self.port}"


def prefect_server(port: int) -> Server:
    """Prefect's own server, of its API and its pages, on this port."""
    return Server(_PREFECT, ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)], port, "/api/health")


@contextlib.contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Run these servers for as long as the block lasts; all of them answer, and each writes to .logs/<name>.log.

    Raises:
        FlowError: a server does not answer; the message names its log.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as starting:
            if any(server.name == _PREFECT for server in servers):
                starting.enter_context(_alone_with_prefects_database())
            started = [(server, stack.enter_context(_started(server))) for server in servers]
            for server, process in started:
                _wait_until_healthy(server, process)
        yield


@contextlib.contextmanager
def _alone_with_prefects_database() -> Iterator[None]:
    """No other server of ours on the same database starts during the block: two would make, or upgrade, the same tables.

    Raises:
        FlowError: Prefect's folder cannot be written.
    """
    from prefect.settings import PREFECT_HOME  # of this moment: `serve` sets it

    home = PREFECT_HOME.value()
    lock = FileLock(home / "starting.lock")
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise FlowError(f"PREFECT_HOME: {home} cannot be written ({error.strerror}); set it to a folder that can") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _started(server: Server) -> Iterator[subprocess.Popen[str]]:
    log = _log_file(server)
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as file, child_process.start(server.command, ROOT, file, {**_QUIET, **server.variables}) as process:
        try:
            yield process
        finally:
            child_process.end(process)


def _log_file(server: Server) -> Path:
    return ROOT / ".logs" / f"{server.name}.log"


def _wait_until_healthy(server: Server, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urlopen(server.address + server.health, timeout=2):
            return
        time.sleep(0.2)
    raise FlowError(f"{server.name} does not answer on port {server.port}; see {_log_file(server).relative_to(ROOT)}")


def ensure_prefect() -> None:
    """From now on there is a Prefect server: the one that Prefect's settings name, else one of our own until this process ends.

    Prefect would start one by itself, but that one outlives a killed flow.

    Raises:
        FlowError: it does not answer, or refuses.
    """
    until_the_end = contextlib.ExitStack()
    atexit.register(until_the_end.close)  # before Prefect registers what it does at the end, which then comes first
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if address := PREFECT_API_URL.value():
        _require_answer(address)
        return
    server = prefect_server(_free_port())
    until_the_end.enter_context(running(server))
    until_the_end.enter_context(temporary_settings(updates={PREFECT_API_URL: f"{server.address}/api"}))


def _require_answer(address: str) -> None:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    reason: Exception
    try:
        with (
            temporary_settings(updates={PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": ANSWER_S}, sync_client=True) as client,
        ):
            client.hello()  # unlike /health it asks for the account
            return
    except httpx.HTTPStatusError as error:
        what, advice = "refuses", "see PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
        reason = error
    except httpx.TimeoutException:
        what, advice = "does not answer", _how_to_do_without()
        reason = TimeoutError(f"silent for {ANSWER_S:.0f} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        what, advice = "does not answer", _how_to_do_without()
        reason = error
    shown = f"{without_account(address)} {what} ({first_line(reason, address)})"
    raise FlowError(f"PREFECT_API_URL: {shown}; {advice}")


def _how_to_do_without() -> str:
    """How to have a server of our own instead: depends on what named the other one."""
    if os.environ.get("PREFECT_API_URL"):
        return "start it, or unset the variable"
    from prefect.context import get_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_PROFILES_PATH

    profile = get_settings_context().profile
    if PREFECT_API_URL in profile.settings:
        where = f"the profile {profile.name} in {PREFECT_PROFILES_PATH.value()}"
        return f"start it, or take it out of {where}: prefect --profile {profile.name} config unset --yes PREFECT_API_URL"
    return "start it, or take it out of .env, prefect.toml or pyproject.toml in this folder"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
