"""A small real DVC project with the stages' names and real `flows`, whose stages take milliseconds and fail on demand."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT
from processes import CLEAN, PrefectServer, end, heed_ctrl_c

STAGE = """
import json, os, subprocess, sys, time
from pathlib import Path

name = " ".join(sys.argv[1:-1])
with open("runs.log", "a") as log:
    log.write(name + "\\n")
do = json.loads(Path("behaviour.json").read_text()).get(name, "")
if do == "fail":
    print(f"error: {name}: broken on purpose")
    sys.exit(2)
if do.startswith("away once") and Path("runs.log").read_text().splitlines().count(name) == 1:
    print(f"error: {name}: the service does not answer")
    sys.exit(75)
if do.endswith("new"):
    sys.exit(3)
if do == "chatty":
    print("\\n".join(f"{name}: line {number}" for number in range(100)))
if do == "hang":
    Path("hanging").write_text(str(os.getpid()))
    subprocess.run(["sleep", "3600"])
told = ("CUDA_VISIBLE_DEVICES", "FLOW_RUN", "MLFLOW_TRACKING_URI")
print(f"{name}:", *(f"{variable}={os.environ.get(variable, '-')}" for variable in told))
out = Path(sys.argv[-1])
if str(out) != "-":
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(name + Path("source.txt").read_text())
"""
COMMANDS = """
import runpy, sys

if sys.argv[1] == "tune":
    runpy.run_path("pipeline/tune.py")
else:  # `python -m pipeline register` runs and behaves as `command register`
    sys.argv = ["", "command", *sys.argv[1:], "-"]
    runpy.run_path("stage.py")
"""
DAG = """
stages:
  ingest: {cmd: python stage.py ingest data/raw, deps: [source.txt], outs: [data/raw]}
  split: {cmd: python stage.py split data/split, deps: [data/raw], outs: [data/split]}
  train:
    matrix: {subtype: [A_B, C], candidate: [one], fold: [0]}
    cmd: python stage.py train ${item.subtype} ${item.fold} models/${item.subtype}/${item.candidate}/fold-${item.fold}
    deps: [data/split]
    outs: ["models/${item.subtype}/${item.candidate}/fold-${item.fold}"]
  evaluate:
    matrix: {subtype: [A_B, C], candidate: [one]}
    cmd: python stage.py evaluate ${item.subtype} data/evaluated/${item.subtype}/${item.candidate}
    deps: ["models/${item.subtype}/${item.candidate}"]
    outs: ["data/evaluated/${item.subtype}/${item.candidate}"]
  register:
    matrix: {subtype: [A_B, C]}
    cmd: python stage.py register ${item.subtype} -
    deps: ["data/evaluated/${item.subtype}"]
  report: {cmd: python stage.py report page.html, deps: [data/evaluated, models], outs: [page.html]}
"""
# `python -m pipeline tune`, of whose workers the first fails on demand.
TUNE = """
import json, sys
from pathlib import Path

arguments = sys.argv[1:]
log = Path("runs.log")
before = log.read_text().splitlines() if log.exists() else []
with log.open("a") as file:
    file.write(" ".join(arguments) + "\\n")
do = json.loads(Path("behaviour.json").read_text()).get("tune")
if "--only-trials" in arguments and (do == "fail" or do == "fail once" and not before):
    print("error: tune: broken on purpose")
    sys.exit(2)
print("1 of 2: trial 0 ended, loss 0.5")
folder = Path("reports/tune") / arguments[1]
folder.mkdir(parents=True, exist_ok=True)
(folder / "front.png").write_bytes(b"\\x89PNG")
(folder / "result.md").write_text("# Search for C\\n\\n![Front](front.png)\\n")
print("tune: done")
"""
ALL = ["ingest", "split"] + [f"train {s} 0" for s in ("A_B", "C")]
ALL += [f"{stage} {s}" for stage in ("evaluate", "register") for s in ("A_B", "C")] + ["report"]


def make(folder: Path) -> Path:
    """The project in `folder`, nothing of it run yet."""
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "infra", folder / "infra")
    shutil.copytree(ROOT / "pipeline" / "common", folder / "pipeline" / "common")  # what `flows` itself needs of it
    for name, content in {
        "stage.py": STAGE,
        "pipeline/__main__.py": COMMANDS,
        "pipeline/tune.py": TUNE,
        "dvc.yaml": DAG,
        "source.txt": "1",
        "behaviour.json": "{}",
    }.items():
        (folder / name).write_text(content)
    patient = folder / "flows" / "local_servers.py"
    assert patient.read_text().count("ANSWER_S = 10.0") == 1
    patient.write_text(patient.read_text().replace("ANSWER_S = 10.0", "ANSWER_S = 120.0"))
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)
    (folder / ".dvc" / "config").write_text("[cache]\n    type = hardlink\n")
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This environment without a GPU, and with a home for Prefect in the project."""
    kept = {key: value for key, value in CLEAN.items() if not key.startswith("CUDA_")}
    return {**kept, "PREFECT_HOME": str(folder / ".prefect"), **more}


def run_flow(folder: Path, server: PrefectServer, *options: str, flow: str = "training", **variables: str) -> tuple[int, str]:
    """Its exit status and the last line it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", flow, *options],
        cwd=folder,
        env=environment(folder, PREFECT_API_URL=server.api, **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, done.stdout.splitlines()[-1]


@contextlib.contextmanager
def worker(pool: str, folder: Path, server: PrefectServer, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Prefect worker of `pool` that starts its runs in `folder`; it is gone when the block ends."""
    process = subprocess.Popen(
        ["prefect", "worker", "start", "--pool", pool],
        cwd=folder,
        env=environment(folder, PREFECT_API_URL=server.api, PREFECT_WORKER_QUERY_SECONDS="2", **more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )
    try:
        yield process
    finally:
        end(process)


def behave(folder: Path, **what: str) -> None:
    """What the stages do from now on, by name with underscores for spaces' sake: train__C__0='fail'."""
    (folder / "behaviour.json").write_text(json.dumps({name.replace("__", " "): do for name, do in what.items()}))


def try_again_at_once(folder: Path) -> None:
    """What a service's absence makes wait waits a tenth of a second."""
    path = folder / "flows" / "retries.py"
    path.write_text(path.read_text().replace("backoff_factor=10", "backoff_factor=0.1"))


def runs(folder: Path) -> list[str]:
    """The stages that ran, in order, since the last call."""
    log = folder / "runs.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines
