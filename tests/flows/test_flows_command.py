"""`python -m flows`: mistakes that end in one line before a flow starts, and what stands on the command line of a server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import toy_project
from processes import answers, free_port

from flows import local_servers, serve, tune, unneeded_flow_runs
from flows.__main__ import main
from flows.errors import FlowError


@pytest.mark.parametrize("port", ["abc", "0", "99999", "-1", "9" * 5000])
def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: str) -> None:
    monkeypatch.setenv("MLFLOW_PORT", port)
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == f"error: MLFLOW_PORT: a port is a whole number from 1 to 65535, not {port!r}\n"


def test_a_search_by_no_worker_is_refused() -> None:
    for workers in (0, -1):
        assert tune.tune.fn("NPM1", workers).message == f"--workers: a whole number above 0, not {workers}"


@pytest.mark.parametrize("command", ["training", "deploy"])
def test_a_prefect_server_that_is_away_is_named_without_its_password(tmp_path: Path, command: str) -> None:
    address = f"127.0.0.1:{free_port()}/api"
    done = subprocess.run(
        [sys.executable, "-m", "flows", command],
        env={**toy_project.environment(tmp_path), "PREFECT_API_URL": f"http://me:secret@{address}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: PREFECT_API_URL: http://{address} does not answer (")
    assert done.stderr.count("\n") == 1


def test_a_prefect_server_that_refuses_is_named_without_its_password() -> None:
    """Its client's own words have the whole address."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def do_POST(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings(updates={PREFECT_API_URL: f"http://me:secret@127.0.0.1:{server.server_port}/api"}):
            with pytest.raises(FlowError, match="401 Unauthorized") as refused:
                local_servers.ensure_prefect()
            said = [str(refused.value), *unneeded_flow_runs.report(30)]
        server.shutdown()
    assert "does not answer (Client error '401 Unauthorized'" in said[1]
    assert not [line for line in said if "secret" in line]


@pytest.mark.parametrize("password", ["qz/55", "qz?qz"])
def test_an_address_of_prefect_that_is_none_is_told_without_its_password(password: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(updates={PREFECT_API_URL: f"http://me@clinic.org:{password}@127.0.0.1:1/api"}):
        with pytest.raises(FlowError, match=r"PREFECT_API_URL: http://127\.0\.0\.1:1/api does not answer \(") as refused:
            local_servers.ensure_prefect()
        said = [str(refused.value), *unneeded_flow_runs.report(30)]
    assert not [line for line in said if "qz" in line]


def test_serve_shows_no_password_of_mlflows_database_and_starts_no_mlflow_beside_yours() -> None:
    ports = {"prefect": 1, "reports": 2, "mlflow": 3}
    (mlflow,) = (one for one in serve.servers_to_start("postgresql://me:secret@db/m", ports) if one.name == "mlflow")
    assert "secret" not in " ".join(mlflow.command)
    assert mlflow.variables == {"MLFLOW_BACKEND_STORE_URI": "postgresql://me:secret@db/m"}
    del ports["mlflow"]
    assert [one.name for one in serve.servers_to_start("http://mlflow.org", ports)] == ["prefect", "reports"]


def test_a_server_gets_its_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_servers, "ROOT", tmp_path)
    (tmp_path / "there").touch()
    page, port = ["sh", "-c", 'exec python -m http.server --bind 127.0.0.1 --directory "$SHOWN" "$AT"'], free_port()
    with local_servers.running(local_servers.Server("page", page, port, "/there", {"SHOWN": str(tmp_path), "AT": str(port)})):
        assert answers(f"http://127.0.0.1:{port}/there")
    assert not answers(f"http://127.0.0.1:{port}/there")


def test_a_prefect_server_that_says_nothing_is_named_within_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prefect by itself waits a minute for each of six answers."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    import flows.training  # noqa: F401 - which takes long on a busy machine

    monkeypatch.setattr(local_servers, "ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", address)
        started = time.monotonic()
        with temporary_settings(updates={PREFECT_API_URL: address}):
            assert main(["training"]) == 2
    assert time.monotonic() - started < 50  # of the client by itself: 60 at the least
    said = f"error: PREFECT_API_URL: {address} does not answer (silent for 1 s); start it, or unset the variable\n"
    assert capsys.readouterr().err == said


def test_a_profile_that_names_a_server_that_is_away_is_named_with_a_command_that_works(tmp_path: Path) -> None:
    profiles = tmp_path / ".prefect" / "profiles.toml"
    profiles.parent.mkdir()
    profiles.write_text(f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://127.0.0.1:{free_port()}/api"\n')
    variables = toy_project.environment(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "flows", "training"], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    said, _, command = done.stderr.strip().partition(f"start it, or take it out of the profile team in {profiles}: ")
    assert said.endswith("does not answer ([Errno 111] Connection refused); ")
    subprocess.run(command.split(), env=variables, check=True, capture_output=True)
    assert "PREFECT_API_URL" not in profiles.read_text()
