"""MLflow's server, its PostgreSQL and Prefect's server: killed and started again, slow, or there and gone in turn."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from processes import MlflowServer, Postgres, PrefectServer

from bench.torture.round import FLOW, HANGS_S, PYTHON, REPRO, Round, tracebacks


def mlflow_killed(this: Round) -> None:
    """The server goes away in the middle and is back for the next run."""
    server = _mlflow(this)
    this.victim = "MLflow server"
    _hurt(this, REPRO, server.kill)
    server.start()


def postgres_killed(this: Round) -> None:
    """MLflow's records lie in PostgreSQL, all processes of which are killed."""
    server = this.after.enter_context(Postgres())
    this.variables["MLFLOW_TRACKING_URI"] = this.database = server.uri
    this.victim = "PostgreSQL"
    _hurt(this, REPRO, server.kill)
    server.start()


def prefect_killed(this: Round) -> None:
    """Prefect's server goes away in the middle of a flow, and comes back while the flow is at work."""
    folder = _empty(this.folder.with_name("prefect"))
    server = this.after.enter_context(PrefectServer(folder))
    this.variables["PREFECT_API_URL"] = server.api
    this.again, this.victim = FLOW, "Prefect server"

    def away() -> None:
        server.kill()
        time.sleep(this.chance.uniform(0, 10))
        server.start()

    _hurt(this, FLOW, away)


def worker_killed(this: Round) -> None:
    """A worker of Prefect's, together with the run that it started."""
    server = this.after.enter_context(PrefectServer(_empty(this.folder.with_name("prefect"))))
    this.variables |= {"PREFECT_API_URL": server.api, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    this.ended(this.start(*PYTHON, "flows", "deploy"))
    (weekly,) = (found for found in server.post("deployments/filter") if found["name"] == "weekly")
    server.post(f"deployments/{weekly['id']}/create_flow_run", state={"type": "SCHEDULED"})
    worker = this.start("prefect", "worker", "start", "--pool", "pipeline")
    this.moment_of(this.wait_for_stage(worker, lives_on=True))
    this.again, this.victim = FLOW, "worker and run"
    processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    this.strike(*(one for one in processes if one.pid == worker.pid or is_run(one)))
    this.faults = 1


def slow(this: Round) -> None:
    """Every answer of MLflow's server takes its time."""
    proxy = this.after.enter_context(Proxy(_mlflow(this).address, this.chance))
    proxy.delay_s, this.victim = this.chance.uniform(0.05, 0.3), "MLflow server"
    this.moments.append(f"{proxy.delay_s:.2f} s an answer")
    _through(this, proxy)


def flapping(this: Round) -> None:
    """MLflow's server drops connections, before or in the middle of answers."""
    proxy = this.after.enter_context(Proxy(_mlflow(this).address, this.chance))
    proxy.dropped, this.victim = this.chance.uniform(0.01, 0.2), "MLflow server"
    this.moments.append(f"{proxy.dropped:.0%} of answers dropped")
    _through(this, proxy)


def is_run(process: psutil.Process) -> bool:
    """Whether it is the flow run that a worker started."""
    with contextlib.suppress(psutil.Error):
        return "prefect.engine" in " ".join(process.cmdline())
    return False


def _through(this: Round, proxy: Proxy) -> None:
    this.variables["MLFLOW_TRACKING_URI"] = proxy.address
    running = this.start(*REPRO)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(HANGS_S)
    proxy.delay_s = proxy.dropped = 0.0
    this.faults = int(proxy.struck > 0)
    this.moments.append(f"{proxy.struck} times")
    _end(this, running, "with an undisturbed server again")


def _mlflow(this: Round) -> MlflowServer:
    folder = _empty(this.folder.with_name("mlflow"))
    server = this.after.enter_context(MlflowServer(folder))
    this.variables["MLFLOW_TRACKING_URI"], this.database = server.address, f"sqlite:///{folder}/server.db"
    return server


def _hurt(this: Round, command: tuple[str, ...], strike: Callable[[], None]) -> None:
    running = this.start(*command)
    this.moment_of(this.wait_for_stage(running))
    strike()
    this.faults = 1
    _end(this, running, "without the server")


def _end(this: Round, running: subprocess.Popen[str], when: str) -> None:
    try:
        running.wait(HANGS_S)
    except subprocess.TimeoutExpired:
        this.unclear.append(f"it hung for {HANGS_S:.0f} s {when}")
    this.unclear += tracebacks(this)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


class Proxy:
    """A port of this machine that hands connections on, with answers later than they came or not to their end."""

    def __init__(self, address: str, chance: random.Random) -> None:
        self._to = ("127.0.0.1", int(address.rpartition(":")[2]))
        self._chance = random.Random(chance.random())
        self.delay_s = self.dropped = 0.0
        self.struck = 0  # answers that came late, or not to their end

    def __enter__(self) -> Proxy:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._hand_on, args=(client,), daemon=True).start()

    def _hand_on(self, client: socket.socket) -> None:
        asked = threading.Event()
        with client, contextlib.suppress(OSError), socket.create_connection(self._to) as server:
            back = threading.Thread(target=self._answer, args=(server, client, asked), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    asked.set()
                    server.sendall(data)
                server.shutdown(socket.SHUT_WR)
            back.join()

    def _answer(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        """Bytes from the server until either ends; a connection serves many requests, and chance has its say of each answer."""
        bytes_left: int | None = None
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if asked.is_set():
                    asked.clear()
                    bytes_left = self._chance.choice([0, 100, 3000]) if self._chance.random() < self.dropped else None
                    if self.delay_s:
                        self.struck += 1
                        time.sleep(self.delay_s)
                client.sendall(data[:bytes_left])
                if bytes_left is not None and (bytes_left := bytes_left - len(data)) <= 0:
                    self.struck += 1
                    server.shutdown(socket.SHUT_RDWR)
                    break
            client.shutdown(socket.SHUT_WR if bytes_left is None else socket.SHUT_RDWR)
