"""The services of compose.yaml as processes of this machine: the same commands, environment, secrets and files, on 127.0.0.1.

For trying the set-up where there is no container engine, and for its tests. What differs: addresses, ports and folders;
PostgreSQL is this machine's, without fsync; in place of the S3 store stands moto's server, which keeps everything in memory.
docker-compose itself reads compose.yaml, so its rules, interpolation included, are not repeated here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra import keys

HERE = Path(__file__).resolve().parent
_CHILD_PROCESS = HERE.parent / "flows" / "child_process.py"
_PATIENCE_S = 600  # a busy machine takes minutes to import MLflow
_PORTS = {"postgres": 5432, "store": 3900, "mlflow": 5000, "prefect": 4200}  # as compose.yaml has them
_TOOLS = ("MLFLOW_", "PREFECT_", "DVC_", "AWS_", "PG", "TRAIN")


class LoopbackError(Exception):
    """A service did not start or a command failed; the message names its log or holds its last lines."""


class Loopback:
    """The set-up, as processes: all that it keeps is below `folder`; `checkout` is what the worker works in."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder = folder.resolve()
        keys.make(self.folder)
        self.secrets = self.folder / "secrets"
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        with (self.folder / ".env").open("a") as file:
            names = {"STATE": self.folder / "state", "CHECKOUT": checkout.resolve(), "BACKUP": self.folder / "backup"}
            file.writelines(f"{name}={path}\n" for name, path in names.items())
        self.services: dict[str, Any] = compose(self.folder)["services"]
        # As root its programs run as the account postgres, which may not look into a private folder.
        self.data = Path(tempfile.mkdtemp(prefix="postgres-")) if os.getuid() == 0 else self.folder / "state" / "postgres"
        self.ports = {name: _free_port() for name in _PORTS}
        self.address = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self._running: dict[str, tuple[subprocess.Popen[bytes], contextlib.ExitStack]] = {}

    def command(self, service: str, *command: str) -> tuple[list[str], dict[str, str], Path]:
        """What a container of the service would run, or `command` in it, its environment, and the folder it would run in."""
        spec, paths = self.services[service], self._paths(service)
        words = [self._here(word, paths) for word in (command or spec["command"])]
        home = self.folder / "home" / service
        home.mkdir(parents=True, exist_ok=True)
        outer = {key: value for key, value in os.environ.items() if not key.startswith(_TOOLS)}
        variables = {"HOME": "/tmp", **(spec.get("environment") or {})}
        for key, value in variables.items():
            own_tmp = value == "/tmp" or value.startswith("/tmp/")  # a container has one of its own
            variables[key] = str(home) + value.removeprefix("/tmp") if own_tmp else self._here(value, paths)
        if "PGHOST" in variables:
            variables |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.ports["postgres"])}
        programs = os.pathsep.join([str(Path(sys.executable).parent), str(_postgres_programs()), str(HERE), os.environ["PATH"]])
        environment = {**outer, **variables, "PATH": programs, "SECRETS_DIR": paths["/run/secrets"]}
        entry = [str(HERE / "with_secrets.sh")] if spec.get("build") else []
        return [*entry, *words], environment, Path(paths.get("/srv/pipeline", home))

    def run(self, service: str, *command: str, seconds: float = 900, variables: Mapping[str, str] | None = None) -> str:
        """Run a service that ends, or another command instead of its own (`docker compose run`); its output.

        Raises:
            LoopbackError: it failed; the message holds the last lines of its output.
        """
        words, environment, folder = self.command(service, *command)
        done = subprocess.run(
            words,
            env={**environment, **(variables or {})},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        with (self.logs / f"{service}.log").open("a") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise LoopbackError(f"{service}: {' '.join(words[:6])} ended with status {done.returncode}:\n{said}")
        return done.stdout

    def start(self, *services: str) -> None:
        """Start services side by side and wait until all are healthy, by the health checks of compose.yaml.

        Raises:
            LoopbackError: one does not become healthy.
        """
        for service in services:
            match service:
                case "postgres":
                    self._start_postgres()
                case "store":
                    self._popen(
                        "store", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.ports["store"])]
                    )
                case _:
                    words, environment, folder = self.command(service)
                    self._popen(service, words, environment, folder)
        for service in services:
            self._wait(service)

    def stop(self, *services: str) -> None:
        """End services; they can be started again."""
        for service in services:
            if service == "postgres":
                self._stop_postgres_softly()
            process, stack = self._running.pop(service)
            assert process.stdin is not None
            process.stdin.close()  # which ends all that belongs to it
            process.wait(60)
            stack.close()

    def __enter__(self) -> Loopback:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(*reversed(self._running))
        if not self.data.is_relative_to(self.folder):
            shutil.rmtree(self.data)

    def health(self, service: str) -> bool:
        """Whether the service's health check passes."""
        if service == "store":
            return _answers(self.ports["store"])
        if service == "postgres":
            ready = [str(_postgres_programs() / "pg_isready"), "--quiet", "-h", "127.0.0.1", "-p", str(self.ports["postgres"])]
            return subprocess.run(ready, check=False).returncode == 0
        if "healthcheck" not in self.services[service]:
            return True
        _, environment, folder = self.command(service)
        test = [self._here(word, {}) for word in self.services[service]["healthcheck"]["test"][1:]]
        return subprocess.run(test, env=environment, cwd=folder, check=False, capture_output=True).returncode == 0

    def _wait(self, service: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not self.health(service):
            if time.monotonic() > deadline or self._running[service][0].poll() is not None:
                raise LoopbackError(f"{service} does not come up; see {self.logs / service}.log")
            time.sleep(0.3)

    def _popen(
        self, service: str, words: list[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        stack = contextlib.ExitStack()
        log = stack.enter_context((self.logs / f"{service}.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, str(_CHILD_PROCESS), *words],
            env=environment,
            cwd=folder or self.folder,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._running[service] = process, stack

    def _start_postgres(self) -> None:
        """Start PostgreSQL as its image does: initdb with a password and roles.sh once, then the server of compose.yaml."""
        data = self.data
        port, words = str(self.ports["postgres"]), self.services["postgres"]["command"]
        options = ["-D", str(data), "-p", port, "-h", "127.0.0.1", "-k", "", "-c", "fsync=off", *words[1:]]
        account: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        new = not (data / "PG_VERSION").exists()
        if new:
            _, environment, _ = self.command("postgres")
            password = data.with_name(f"{data.name}-password")
            keys.write_private(password, (self.secrets / "postgres_password").read_text())
            if account:  # it refuses root
                for path in (data, password):
                    shutil.chown(path, "postgres", "postgres")
            initdb = [str(_postgres_programs() / "initdb"), "--username=postgres", f"--pwfile={password}", f"--pgdata={data}"]
            arguments = environment["POSTGRES_INITDB_ARGS"].split()
            made = subprocess.run([*initdb, *arguments], check=False, capture_output=True, text=True, cwd="/", **account)
            password.unlink()
            if made.returncode != 0:
                raise LoopbackError(f"initdb: {made.stderr.strip()}")
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if account else []
        self._popen("postgres", [*as_postgres, str(_postgres_programs() / "postgres"), *options], None, Path("/"))
        if new:
            self._wait("postgres")
            passwords = str(self.secrets / "postgres.pgpass")
            where = {"PGHOST": "127.0.0.1", "PGPORT": port, "PGPASSFILE": passwords}
            self.run("postgres", str(HERE / "roles.sh"), variables=where)

    def _stop_postgres_softly(self) -> None:
        number = (self.data / "postmaster.pid").read_text().split()[0]
        os.kill(int(number), 2)  # "fast": ends sessions, then writes everything down
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running["postgres"][0].wait(30)

    def _own_secrets(self, service: str) -> Path:
        """A folder with the secrets that compose.yaml gives to the service, and no others, under the names it gives them."""
        own = self.folder / "run" / service
        own.mkdir(parents=True, exist_ok=True)
        for secret in self.services[service].get("secrets") or []:
            target = own / Path(secret.get("target") or secret["source"]).name
            if not target.exists():
                file = {"PREFECT_SERVER_API_AUTH_STRING": "PREFECT_API_AUTH_STRING"}.get(secret["source"], secret["source"])
                target.symlink_to(self.secrets / file)
        return own

    def _paths(self, service: str) -> dict[str, str]:
        """Path in the container -> path on this machine; files that name hosts are copied, with this machine's addresses."""
        paths = {"/run/secrets": str(self._own_secrets(service))}
        for volume in self.services[service].get("volumes") or []:
            source = Path(volume["source"])
            if source.is_file():
                copy = self.folder / "etc" / service / source.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(self._here(source.read_text(), {}))
                source = copy
            paths[volume["target"]] = str(source)
        return paths

    def _here(self, text: str, paths: Mapping[str, str]) -> str:
        for name, port in _PORTS.items():
            text = text.replace(f"{name}:{port}", f"127.0.0.1:{self.ports[name]}")
            text = text.replace(f"--port={port}", f"--port={self.ports[name]}")
            text = text.replace(f"http://127.0.0.1:{port}", self.address[name])
        text = text.replace("0.0.0.0", "127.0.0.1")
        for target in sorted(paths, key=len, reverse=True):
            text = re.sub(rf"(?<![\w/]){re.escape(target)}(?![\w-])", paths[target], text)
        return text


def compose(folder: Path, *profiles: str) -> dict[str, Any]:
    """compose.yaml as docker-compose understands it, with the secrets and the .env of `folder`.

    Raises:
        LoopbackError: it refuses the file; the message is its own.
    """
    beside = HERE / "secrets"
    chosen = [f"--profile={profile}" for profile in profiles or ("*",)]
    command = ["docker-compose", "--project-directory", str(folder), "--env-file", str(folder / ".env"), *chosen]
    files = ["--file", str(HERE / "compose.yaml")]
    done = subprocess.run(
        [*command, *files, "config", "--format", "json"],
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LoopbackError(f"docker-compose: {done.stderr.strip()}")
    read: dict[str, Any] = json.loads(done.stdout.replace(str(beside), str(folder / "secrets")))
    for service in read["services"].values():  # files of this folder, which --project-directory moved
        for volume in service.get("volumes") or []:
            moved = Path(volume["source"])
            if moved.parent == folder and (HERE / moved.name).is_file():
                volume["source"] = str(HERE / moved.name)
    return read


def _postgres_programs() -> Path:
    """The folder of initdb and postgres, which Debian keeps off the PATH.

    Raises:
        LoopbackError: they are not installed.
    """
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *map(Path, filter(None, [shutil.which("initdb")]))]
    if not found:
        raise LoopbackError("PostgreSQL is not installed; `apt-get install postgresql`")
    return found[0].resolve().parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def team(folder: Path, checkout: Path) -> Iterator[Loopback]:
    """Run PostgreSQL, the store, MLflow and Prefect for as long as the block lasts, with MLflow's account and bucket made."""
    with Loopback(folder, checkout) as servers:
        servers.start("postgres", "store")
        make_bucket(servers)
        servers.start("mlflow", "prefect")
        servers.run("account")
        yield servers


def make_bucket(servers: Loopback) -> None:
    """Make the bucket in the store, which Garage does by itself (`--default-bucket`) and moto does not."""
    location = "CreateBucketConfiguration={'LocationConstraint': 'garage'}"
    code = f"import boto3; boto3.client('s3').create_bucket(Bucket='pipeline', {location})"
    servers.run("objects", "python", "-c", code)
