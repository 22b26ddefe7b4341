"""The files of infra/ as the programs that read them see them, and the rules that a team's servers rely on."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from conftest import ROOT
from processes import answers, free_port, wait
from ruamel.yaml import YAML

from infra import accounts, keys, loopback, to_postgres
from pipeline.registry import mlflow_runs, mlflow_server

INFRA = ROOT / "infra"
PROGRAMS = Path(sys.executable).parent
OURS = {"mlflow", "prefect", "account", "deploy", "worker", "worker-gpu", "objects"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("team")
    keys.make(made)
    return made


@pytest.fixture(scope="module")
def services(folder: Path) -> dict[str, Any]:
    """As docker-compose itself reads compose.yaml: against its schema, anchors and variables resolved."""
    read: dict[str, Any] = loopback.compose(folder)["services"]
    return read


def test_compose_refuses_a_mistake(folder: Path) -> None:
    wrong = folder / "wrong.yaml"
    wrong.write_text("services: {a: {image: x, helthcheck: {}}}")
    command = [PROGRAMS / "docker-compose", "--file", wrong, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "helthcheck" in done.stderr


def test_only_the_two_pages_are_published_and_on_loopback(services: dict[str, Any]) -> None:
    published = {name: [(port["host_ip"], port["target"]) for port in spec.get("ports", [])] for name, spec in services.items()}
    assert {name: ports for name, ports in published.items() if ports} == {
        "mlflow": [("127.0.0.1", 5000)],
        "prefect": [("127.0.0.1", 4200)],
        "tls": [("127.0.0.1", 8443)],  # an option
    }
    assert "tls" in {profile for spec in services.values() for profile in spec.get("profiles", [])}
    for name in ("postgres", "store"):
        assert set(services[name]["networks"]) == {"inside"}


def test_nobody_is_root_or_may_become_it(services: dict[str, Any]) -> None:
    for name, spec in services.items():
        assert spec["user"] == f"{os.getuid()}:{os.getgid()}", name
        assert spec["cap_drop"] == ["ALL"], name
        assert spec["security_opt"] == ["no-new-privileges:true"], name
        assert not spec.get("privileged"), name
    assert {name for name, spec in services.items() if spec.get("cap_add")} == {"tls"}
    users = re.findall(r"^USER (.*)$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
    assert users[-1] == "1000:1000"


def test_versions_are_pinned_and_servers_are_watched(services: dict[str, Any]) -> None:
    for name, spec in services.items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", spec["image"]), f"{name}: {spec['image']}"
        assert name not in ("postgres", "store", "mlflow", "prefect") or spec["healthcheck"]["test"]
    for image in re.findall(r"^FROM (\S+)", (INFRA / "Dockerfile").read_text(), re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+|^cpu$", image)
    assert (INFRA / "Dockerfile").read_text().count("--require-hashes") == (INFRA / "Dockerfile").read_text().count(
        "pip install"
    )


def test_what_our_programs_send_home_is_off(services: dict[str, Any]) -> None:
    for name in OURS:
        assert services[name]["environment"]["DO_NOT_TRACK"] == "true", name
        assert services[name]["environment"]["MLFLOW_DISABLE_TELEMETRY"] == "true", name
        assert services[name]["environment"]["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false", name


def test_passwords_are_in_files_of_their_owner_and_nowhere_else(folder: Path, services: dict[str, Any]) -> None:
    secrets = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    for path in (folder / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    resolved = json.dumps(
        {name: spec for name, spec in services.items() if name != "store"}
    )  # Garage takes them from its env_file
    values = {value for text in secrets.values() for value in re.findall(r"[\w-]{24,}", text)}
    assert len(values) >= 10
    assert not [value for value in values if value in resolved]
    private = ["infra/.env", "infra/secrets/x", "infra/state/x", "infra/backup/x"]
    listed = subprocess.run(["git", "check-ignore", *private], cwd=ROOT, check=False, capture_output=True, text=True)
    assert listed.stdout.split() == private


def test_making_secrets_again_changes_nothing_and_completes_what_is_missing(tmp_path: Path) -> None:
    assert len(keys.make(tmp_path)) == 10
    before = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert keys.make(tmp_path) == []
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == before
    (tmp_path / "secrets" / "store.env").unlink()
    assert keys.make(tmp_path) == ["s3_credentials", "store.env"]  # the same key in two forms
    after = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"s3_credentials", "store.env"}
    assert after["s3_credentials"].split()[-1] in after["store.env"]


def test_every_folder_that_is_mounted_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    keys.make(tmp_path)
    mounted = {
        Path(volume["source"])
        for spec in loopback.compose(tmp_path)["services"].values()
        for volume in spec.get("volumes") or []
        if volume["target"] != "/srv/pipeline" and not Path(volume["source"]).is_file()
    }
    assert {place.relative_to(tmp_path).as_posix() for place in mounted} == {
        *("state/postgres", "state/store", "state/worker", "state/tls", "state/pseudonyms", "backup")
    }
    for place in mounted:
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    settings = (tmp_path / ".env").read_text().replace("=./backup ", f"={tmp_path}/disk/b ").replace("=./state ", "=./all ")
    (tmp_path / ".env").write_text(settings)
    assert keys.make(tmp_path) == []
    for name in ("disk/b", "all", "all/postgres"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_only_workers_see_who_is_who(services: dict[str, Any]) -> None:
    seen = {name for name, spec in services.items() for volume in spec.get("volumes") or [] if "pseudonyms" in volume["target"]}
    told = {name for name, spec in services.items() if "PSEUDONYMS_DIR" in (spec.get("environment") or {})}
    assert seen == told == {"worker", "worker-gpu"}


@pytest.mark.parametrize(
    ("remote", "address"), [("s3://pipeline/dvc", "http://127.0.0.1:1"), ("s3://p/dvc", ""), ("/srv/dvc", "x")]
)
def test_a_checkout_that_joins_knows_where_the_store_is(remote: str, address: str, tmp_path: Path) -> None:
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "flows.py").write_text("")  # stands for the schedules, which need a server
    variables = {"DVC_REMOTE_URL": remote, "AWS_ENDPOINT_URL": address}
    subprocess.run(
        ["sh", INFRA / "join.sh"], cwd=tmp_path, check=True, env={**os.environ, **variables}, stdout=subprocess.DEVNULL
    )
    endpoint = ["endpointurl = http://127.0.0.1:1"] if address.startswith("http") else []
    found = [line.strip() for line in (tmp_path / ".dvc/config.local").read_text().splitlines()]
    assert [line for line in found if "endpointurl" in line] == endpoint
    assert f"url = {remote}" in found


def test_the_dockerfile_has_nothing_to_lint(services: dict[str, Any]) -> None:
    done = subprocess.run([PROGRAMS / "hadolint", INFRA / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    built = {spec["build"]["target"] for spec in services.values() if spec.get("build")}
    assert built == set(re.findall(r" AS (\w+)$", (INFRA / "Dockerfile").read_text(), re.MULTILINE))


def test_images_get_no_more_than_the_dockerfile_copies() -> None:
    copied = re.findall(r"^COPY (?:--\S+ )*(.*) \S+$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {name for names in copied for name in names.split()}


def test_cuda_fits_the_locked_tensorflow() -> None:
    def versions(file: Path) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", file.read_text(), re.MULTILINE))

    everything, cuda = versions(ROOT / "requirements.lock"), versions(INFRA / "requirements-gpu.lock")
    assert cuda["tensorflow"] == everything["tensorflow"]
    assert not {
        name: (cuda[name], everything[name]) for name in cuda.keys() & everything.keys() if cuda[name] != everything[name]
    }
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= cuda.keys()


@pytest.mark.parametrize("template", sorted(INFRA.glob("kubernetes/*.json")), ids=lambda path: path.name)
def test_a_job_template_declares_what_it_uses_and_asks_for_no_rights(template: Path) -> None:
    job = json.loads(template.read_text())
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(job["job_configuration"])))
    assert used == set(job["variables"]["properties"])
    pod = job["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_shell_scripts_are_sound() -> None:
    for script in INFRA.glob("*.sh"):
        assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
        assert "set -eu" in script.read_text()
        assert os.access(script, os.X_OK)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[int]:
    """The real Caddy with our Caddyfile before two small servers."""
    ports = {name: free_port() for name in ("mlflow", "prefect", "tls")}
    running = []
    for name in ("mlflow", "prefect"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "health").write_text(name)
        command = [
            sys.executable,
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            str(tmp_path / name),
            str(ports[name]),
        ]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    variables = {
        **{f"{name.upper()}_HOST": f"{name}.localhost" for name in ("mlflow", "prefect")},
        **{f"{name.upper()}_SERVER": f"127.0.0.1:{ports[name]}" for name in ("mlflow", "prefect")},
        "TLS_PORT": str(ports["tls"]),
        "TLS_CERTIFICATE": "internal",
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path),
        "HOME": str(tmp_path),
    }
    command = [str(PROGRAMS / "caddy"), "run", f"--config={INFRA / 'Caddyfile'}", "--adapter=caddyfile"]
    running.append(subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    root = tmp_path / "data/caddy/pki/authorities/local/root.crt"
    wait(lambda: root.exists() and answers(f"http://127.0.0.1:{ports['mlflow']}/health"), "Caddy to come up")
    yield ports["tls"]
    for process in running:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_proxy_speaks_tls_for_both_pages_and_nothing_else(proxy: int, tmp_path: Path) -> None:
    authority = tmp_path / "data/caddy/pki/authorities/local/root.crt"

    def get(address: str, *options: str) -> str:
        patience = ["--retry", "20", "--retry-all-errors", "--retry-delay", "1", "--max-time", "60"]
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", *patience]
        names = [
            word for name in ("mlflow", "prefect", "other") for word in ("--resolve", f"{name}.localhost:{proxy}:127.0.0.1")
        ]
        done = subprocess.run([*command, *names, *options, address], capture_output=True, text=True, check=False)
        return done.stdout or done.stderr

    for name in ("mlflow", "prefect"):
        assert get(f"https://{name}.localhost:{proxy}/health", "--cacert", str(authority)) == name
    assert get(f"https://other.localhost:{proxy}/health", "--insecure", "--retry", "0").startswith("curl: ")
    assert "HTTP request to an HTTPS server" in get(f"http://127.0.0.1:{proxy}/health", "--retry", "0")


def test_schedules_of_prefect_name_flows_that_are_there() -> None:
    for file in ("prefect.yaml", "trainers.yaml"):
        for entry in YAML(typ="safe", pure=True).load(INFRA / file)["deployments"]:
            path, _, name = entry["entrypoint"].partition(":")
            assert f"def {name}(" in (ROOT / path).read_text()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "MLFLOW_TRACKING_URI: name the server"),
        ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, "MLFLOW_AUTH_ADMIN_PASSWORD is not set"),
    ],
)
def test_an_account_that_cannot_be_made_is_one_line(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_AUTH_ADMIN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert accounts.main(["anna"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {expected}")
    assert said.count("\n") == 1


def test_a_move_that_would_leave_the_files_behind_is_refused_before_it_begins(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    experiment = mlflow_runs.ensure_experiment(mlflow_server.connect(), "NPM1")
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_text("a file", "note.txt")
    assert not (here / "mlruns").exists()  # the folder of MLflow's own experiment, which has no runs
    move = [f"sqlite:///{here}/mlflow.db", "postgresql+psycopg2://mlflow@127.0.0.1:1/mlflow", "--artifacts", "s3://pipeline/x"]
    assert to_postgres.main(move) == 2
    assert "port 1 failed" in capsys.readouterr().err  # as far as the database, which is not there
    (here / "mlartifacts").rename(here / "elsewhere")
    assert to_postgres.main(move) == 2
    assert f"error: {here}/mlartifacts: files of runs lie there, and it is no folder here; run" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--password-from-environment"]])
def test_a_new_user_does_not_get_the_callers_password_unasked_and_no_password_is_shown(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or "another")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:my-login@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "of-the-administrator")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of-the-caller")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert accounts.main(["anna", *options]) == 2
    assert len(asked) == (0 if options else 1)
    said = capsys.readouterr().err
    assert said.startswith("error: http://127.0.0.1:1: ")
    assert "my-login" not in said
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    assert accounts.main(["anna", "--password-from-environment"]) == 2
    assert "MLFLOW_TRACKING_PASSWORD is not set" in capsys.readouterr().err
