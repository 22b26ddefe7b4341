"""Processes and servers on loopback, started and ended by tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

import psutil
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

# without anybody's settings of the tools, or of Python
_SET = ("MLFLOW_", "DVC_", "PREFECT_", "TRAIN", "PYTHON")
CLEAN = {
    **{key: value for key, value in os.environ.items() if not key.startswith(_SET)},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "true",
    "DO_NOT_TRACK": "true",
    "COLUMNS": "200",
    "NO_COLOR": "1",
}


def wait(until: Callable[[], object], what: str) -> None:
    """Ask ever more rarely; ten minutes, also of a machine that others keep busy, before it is called in vain."""
    deadline, pause = time.monotonic() + 600, 0.05
    while not until():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.25)


def heed_ctrl_c() -> None:
    """In a child, before it starts: a shell's background jobs, CI among them, have SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended while the file was read
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def alive_of(folder: Path) -> list[str]:
    """Command lines of processes that work in the project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(address: str) -> bool:
    """Whether a server says at `address` that all is well."""
    with contextlib.suppress(OSError), urlopen(address, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


class _Server:
    """A server on loopback, with a folder of its own; after `kill` it can be started again at the same address."""

    health = "/health"

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        raise NotImplementedError

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self.command(), "--host", "127.0.0.1", "--port", str(self._port)],
            cwd=self._folder,
            env={**CLEAN, **self.variables()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait(lambda: self._process.poll() is not None or answers(self.address + self.health), " ".join(self.command()))
        assert self._process.poll() is None, f"{' '.join(self.command())} ended by itself"

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class MlflowServer(_Server):
    def command(self) -> list[str]:
        options = ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "./artifacts", "--workers", "1"]
        return ["mlflow", "server", *options]

    def variables(self) -> dict[str, str]:
        return {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


# Prefect says 503 while its sqlite file is busy.
_PATIENT = Retry(total=8, backoff_factor=0.2, status_forcelist=[503], allowed_methods=None, respect_retry_after_header=False)


class PrefectServer(_Server):
    health = "/api/health"

    def command(self) -> list[str]:
        return ["prefect", "server", "start"]

    def variables(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self._folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
        }

    @property
    def api(self) -> str:
        return f"{self.address}/api"

    def post(self, path: str, **body: object) -> Any:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=_PATIENT))
            answer = session.post(f"{self.api}/{path}", json=body, timeout=120)
        answer.raise_for_status()
        return answer.json() if answer.content else None


class Postgres:
    """A PostgreSQL server on loopback with an empty database, in a folder that goes with it."""

    def __init__(self) -> None:
        self._port = free_port()
        self.uri = f"postgresql+psycopg2://postgres@127.0.0.1:{self._port}/postgres"

    @staticmethod
    def programs() -> Path | None:
        """Where initdb and postgres are: Debian keeps them off the PATH; None where they are not installed."""
        found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *map(Path, filter(None, [shutil.which("initdb")]))]
        return found[0].resolve().parent if found else None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if self._account():
            shutil.chown(self._folder, "postgres", "postgres")
        self._run("initdb", "--auth=trust", "--username=postgres", "--pgdata=data").check_returncode()
        self.start()
        return self

    def start(self) -> None:
        """Start the server, for the first time or after `kill`."""
        command = [self._program("postgres"), "-D", "data", "-p", str(self._port), "-h", "127.0.0.1", "-k", str(self._folder)]
        self._process = subprocess.Popen([*command, "-c", "fsync=off"], start_new_session=True, **self._where())
        wait(lambda: self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self._port)).returncode == 0, "PostgreSQL")

    def kill(self) -> None:
        """End all of its processes at once; what was committed is on the disk."""
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            with contextlib.suppress(psutil.NoSuchProcess):  # one of a session that has just ended
                process.kill()
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)  # ends sessions too
        self._process.wait()
        shutil.rmtree(self._folder)

    def _program(self, name: str) -> str:
        programs = self.programs()
        assert programs is not None
        return str(programs / name)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self._program(program), *arguments], check=False, **self._where())

    def _where(self) -> dict[str, Any]:
        return {"cwd": self._folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **self._account()}

    @staticmethod
    def _account() -> dict[str, Any]:
        return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}  # it refuses root
