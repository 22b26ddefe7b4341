"""`python -m infra.rehearsal`: the team's set-up tried with the demo, on loopback, from an empty folder to a restored backup.

A copy of this checkout, with what was changed in it, joins the servers of compose.yaml as `loopback` runs them. A schedule
comes, the worker makes the four champions; calls without a password are refused; patients are scored; all is saved, lost and
restored, and the same patients get the same scores. It takes some ten minutes on two cores, and leaves nothing.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil

from infra.loopback import HERE, Loopback, make_bucket

MLFLOW_PATHS = ("/", "/api/2.0/mlflow/experiments/search?max_results=1", "/api/2.0/mlflow-artifacts/artifacts", "/version")
PREFECT_PATHS = ("/api/flows/count", "/api/admin/settings", "/api/deployments/filter")
_CHAMPIONS = """
import json, mlflow
client = mlflow.MlflowClient()
models = {model.name: model.aliases for model in client.search_registered_models()}
print(json.dumps({name: aliases["champion"] for name, aliases in models.items() if "champion" in aliases}))
"""
HISTORY = """
import json, mlflow
client = mlflow.MlflowClient()
found = {"runs": {}, "versions": {}}
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        info, data = run.info, run.data
        points = {key: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(info.run_id, key)]
                  for key in sorted(data.metrics)}
        files = sorted((file.path, file.file_size) for file in client.list_artifacts(info.run_id))
        inputs = sorted(entry.dataset.digest for entry in run.inputs.dataset_inputs)
        found["runs"][info.run_id] = [experiment.name, info.run_name, info.status, info.start_time, info.end_time, data.params,
                                      data.tags, points, files, inputs]
for model in client.search_registered_models():
    for version in client.search_model_versions(f"name = '{model.name}'"):
        version = client.get_model_version(version.name, version.version)
        found["versions"][f"{version.name} {version.version}"] = [version.run_id, sorted(version.aliases), version.tags,
                                                                  version.description, version.creation_timestamp]
print(json.dumps(found, sort_keys=True))
"""


def champions(servers: Loopback) -> dict[str, str]:
    """Subtype -> version of its champion, as a worker sees them in MLflow."""
    found: dict[str, str] = json.loads(servers.run("worker", "python", "-c", _CHAMPIONS).splitlines()[-1])
    return found


def history(servers: Loopback, address: str = "") -> dict[str, Any]:
    """All that MLflow keeps: runs with params, tags, every point of every metric and files; versions with aliases and tags."""
    other = {"MLFLOW_TRACKING_URI": address} if address else {}
    found: dict[str, Any] = json.loads(servers.run("worker", "python", "-c", HISTORY, variables=other).splitlines()[-1])
    return found


def answers(address: str, login: str = "") -> int:
    """The HTTP status with which a server answers a call, made without a password unless `login` is given."""
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urlopen(Request(address, headers=headers), timeout=120) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def open_to_strangers(servers: Loopback) -> list[str]:
    """Calls that a server answers although no password, or a wrong one, was given."""
    addresses = [servers.address["mlflow"] + path for path in MLFLOW_PATHS]
    addresses += [servers.address["prefect"] + path for path in PREFECT_PATHS]
    tried = [(address, login) for address in addresses for login in ("", "admin:a wrong password")]
    return [f"{address} {login}" for address, login in tried if answers(address, login) not in (401, 403)]


def secrets_found(servers: Loopback, folders: Iterable[Path]) -> list[str]:
    """Files in which a secret stands, other than its own. The store's key id is a name: every signed address shows it."""
    needles = {}
    for file in servers.secrets.iterdir():
        values = re.sub(r"(?m)^\w+\s*=", "", file.read_text())
        for value in re.findall(r"[A-Za-z0-9_-]{24,}", values):
            if not re.fullmatch(r"GK[0-9a-f]{24}", value):
                needles[value.encode()] = file.name
    own = {file.resolve() for file in servers.secrets.iterdir()}
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.resolve() not in own:
                content = path.read_bytes()
                found += [f"{path}: {name}" for value, name in needles.items() if value in content]
    return found


def listening(servers: Loopback) -> list[str]:
    """`address:port service` of all sockets on which this process's children listen."""
    names = {port: name for name, port in servers.ports.items()}
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            addresses = [one.laddr for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
            found |= {f"{address.ip}:{address.port} {names.get(address.port) or process.name()}" for address in addresses}
    return sorted(found)


def wait_for_a_scheduled_run(servers: Loopback, seconds: float) -> str:
    """Wait for a run that a schedule started to end; the state of the first one and its message."""
    login = (servers.secrets / "PREFECT_API_AUTH_STRING").read_text()
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}", "Content-Type": "application/json"}
    ends = {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}
    wanted = {"flow_runs": {"state": ends, "deployment_id": {"is_null_": False}}, "sort": "END_TIME_DESC"}
    body = json.dumps(wanted).encode()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        asked = Request(f"{servers.address['prefect']}/api/flow_runs/filter", body, headers)
        with contextlib.suppress(TimeoutError), urlopen(asked, timeout=60) as answer:  # a busy machine
            runs = [run for run in json.loads(answer.read()) if run["auto_scheduled"]]
            if runs:
                return f"{runs[-1]['state']['type']} {runs[-1]['state']['message']}"
        time.sleep(2)
    raise TimeoutError(f"no scheduled run ended within {seconds:.0f} s")


def schedule_often(checkout: Path, seconds: int) -> None:
    """Let the checkout's weekly schedule come every so many seconds, instead of on Sundays."""
    file = checkout / "infra" / "prefect.yaml"
    often = re.sub(r'cron: "0 2.*\n +timezone: .*', f"interval: {seconds}", file.read_text())
    file.write_text(often)


def save(servers: Loopback) -> None:
    """Back the databases and the store up, as docs/operations.md says."""
    servers.run("databases")
    servers.run("objects")


def lose(servers: Loopback) -> None:
    """Stop the databases and the store, and delete what they hold."""
    servers.stop("postgres", "store")
    for entry in servers.data.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def restore(servers: Loopback) -> None:
    """Start the databases and the store, empty, and fill them from the backup."""
    servers.start("postgres", "store")
    make_bucket(servers)
    servers.run("databases", "databases.sh", "restore", "/backup")
    servers.run("objects", "python", "-m", "infra.objects", "restore", "/backup/objects")


def _clone(target: Path) -> Path:
    """Copy this checkout, with what was changed in it, into `target`, as a repository of one commit."""
    root = HERE.parent
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (root / name).is_file() and name != "data/decisions.jsonl" and not name.startswith("reports/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)
    identity = ["-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost"]
    for command in (["init", "--quiet"], ["add", "-A"], [*identity, "commit", "--quiet", "-m", "rehearsal"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target


def _scores(servers: Loopback, folder: Path, output: str) -> str:
    said = servers.run("worker", "python", "-m", "pipeline", "predict", str(folder), "--output", output)
    where = servers.command("worker")[2] / output / "predictions.csv"
    return where.read_text() if where.exists() else said


def rehearse(servers: Loopback, checkout: Path, say: Callable[[str], None]) -> None:
    """Go through the whole rehearsal; says every finding, and ends at the first that is not as it should be."""

    def must(good: bool, what: str) -> None:
        say(f"{'ok  ' if good else 'FAIL'} {what}")
        if not good:
            raise SystemExit(1)

    began = time.monotonic()
    servers.start("postgres", "store")
    make_bucket(servers)
    servers.start("mlflow", "prefect")
    servers.run("account")
    schedule_often(checkout, 120)
    servers.run("deploy")
    servers.start("worker")
    say(f"     up after {time.monotonic() - began:.0f} s; listening: {', '.join(listening(servers))}")
    must(all(line.startswith("127.0.0.1:") for line in listening(servers)), "everything listens on 127.0.0.1 only")
    must(not (found := open_to_strangers(servers)), f"calls without a password, or a wrong one, are refused {found or ''}")
    ended = wait_for_a_scheduled_run(servers, 3000)
    must(ended.startswith("COMPLETED"), f"a scheduled run, by the worker: {ended}")
    made = champions(servers)
    must(len(made) == 4, f"champions: {made}")
    servers.stop("worker")
    patients = Path("data/raw/NPM1")  # in the checkout
    before, records = _scores(servers, patients, "predictions/before"), history(servers)
    servers.run("worker", "dvc", "push")
    save(servers)
    servers.stop("mlflow", "prefect")
    lose(servers)
    for gone in (".dvc/cache", "data/raw", "data/cells", "models"):
        shutil.rmtree(checkout / gone)
    say("     databases, objects and the checkout's data are deleted")
    restore(servers)
    servers.start("mlflow", "prefect")
    must(
        history(servers) == records,
        f"{len(records['runs'])} runs and {len(records['versions'])} versions are back as they were",
    )
    servers.run("worker", "dvc", "pull", "--allow-missing")
    must(_scores(servers, patients, "predictions/after") == before, f"the same scores for {before.count(chr(10)) - 1} lines")
    where = (servers.logs, servers.folder / "home", servers.folder / "state" / "worker", checkout)
    must(not (leaks := secrets_found(servers, where)), f"no secret in any log, home or checkout {leaks or ''}")
    say(f"     {time.monotonic() - began:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Rehearse in a temporary folder; 1 when something was not as it should be."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    parser = argparse.ArgumentParser(prog="python -m infra.rehearsal", description="The team's set-up tried with the demo.")
    parser.add_argument("--cache", type=Path, help="a checkout's .dvc/cache: what ran there is restored, not run again")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        checkout = _clone(Path(name) / "checkout")
        if chosen.cache:
            shutil.copytree(chosen.cache, checkout / ".dvc" / "cache")
        with Loopback(Path(name) / "team", checkout) as servers:
            rehearse(servers, checkout, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
