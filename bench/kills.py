"""Whatever is killed, and when: the next run ends with the same dvc.lock. `python -m bench.kills`

The whole pipeline on a tiny demo cohort, as a flow. `kill -9` hits the stage, the flow, or the worker together with the run
that it started; while images are validated, in the middle of a training, and while results are evaluated. Then the flow is run
again. Printed: after how long no process was left, what the next run did, and whether dvc.lock is that of an undisturbed
`dvc repro`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from conftest import write_params  # noqa: E402
from processes import CLEAN, PrefectServer, alive_of, wait  # noqa: E402
from small_project import TINY, call, copy_of_the_repository, lock  # noqa: E402

MOMENTS = {"validating": "validate", "training": "train NPM1 0", "evaluating": "evaluate NPM1"}
VICTIMS = ("stage", "flow", "worker and run")
FLOW = [sys.executable, "-m", "flows", "training"]
EPOCHS = {**TINY, "train.max_epochs": 40, "train.min_epochs": 40}


def main() -> None:
    """Print a row a kill; status 1 if any run ended with another dvc.lock or left a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        undisturbed = _project(folder / "undisturbed")
        call(undisturbed, "dvc", "repro")
        print("| killed | while | no process left after | the next run | dvc.lock |\n|---|---|---|---|---|")
        same = [
            _killed(folder / f"{victim} {moment}".replace(" ", "-"), victim, moment, lock(undisturbed))
            for victim in VICTIMS
            for moment in MOMENTS
        ]
    sys.exit(0 if all(same) else 1)


def _project(folder: Path) -> Path:
    folder.mkdir()
    copy_of_the_repository(folder)
    write_params(folder / "params.yaml", EPOCHS)
    call(folder, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-am", "epochs")
    return folder


def _killed(folder: Path, victim: str, moment: str, expected: dict[str, object]) -> bool:
    with _running(_project(folder), by_worker=victim == "worker and run") as flow:
        stage = f"-m pipeline {MOMENTS[moment]}"
        wait(lambda: _of(folder, stage), f"{moment} to begin")
        if moment == "training":
            wait(lambda: list((folder / ".checkpoints").glob("NPM1-published-fold-0-*.npz")), "the first epoch")
        hit = {
            "stage": _of(folder, stage),
            "flow": [flow],
            "worker and run": [flow, *(child for child in flow.children(recursive=True) if _is_run(child))],
        }[victim]
        for process in hit:
            os.kill(process.pid, signal.SIGKILL)
        started = time.monotonic()
        if victim == "stage":
            flow.wait(120)  # the flow goes on with what does not need the stage, and says what failed
        wait(lambda: not [line for line in alive_of(folder) if "prefect server" not in line], "all processes to end")
        seconds = time.monotonic() - started
    done = subprocess.run(FLOW, cwd=folder, env=_variables(folder), capture_output=True, text=True, check=False)
    same = done.returncode == 0 and lock(folder) == expected and not alive_of(folder)
    said = done.stdout.splitlines()[-1].removeprefix("training: ") if done.stdout else done.stderr[-200:]
    resumed = ", training resumed" if "resumed after epoch" in done.stdout + done.stderr else ""
    print(f"| {victim} | {moment} | {seconds:.1f} s | {said}{resumed} | {'same' if same else 'OTHER'} |", flush=True)
    return same


@contextlib.contextmanager
def _running(folder: Path, by_worker: bool) -> Iterator[psutil.Process]:
    """A flow under way, or a worker that was ordered to run it."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:
        command, variables = FLOW, _variables(folder)
        if by_worker:
            (folder / ".server").mkdir()
            server = stack.enter_context(PrefectServer(folder / ".server"))
            variables |= {"PREFECT_API_URL": server.api, "PREFECT_WORKER_QUERY_SECONDS": "2"}
            subprocess.run([sys.executable, "-m", "flows", "deploy"], cwd=folder, env=variables, check=True, **quiet)
            (weekly,) = (found for found in server.post("deployments/filter") if found["name"] == "weekly")
            server.post(f"deployments/{weekly['id']}/create_flow_run", state={"type": "SCHEDULED"})
            command = ["prefect", "worker", "start", "--pool", "pipeline"]
        process = stack.enter_context(subprocess.Popen(command, cwd=folder, env=variables, **quiet))
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def _variables(folder: Path) -> dict[str, str]:
    return {**CLEAN, "PREFECT_HOME": str(folder / ".prefect")}


def _of(folder: Path, words: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == str(folder) and " ".join(process.cmdline()).endswith(words):
                found.append(process)
    return found


def _is_run(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "prefect.engine" in " ".join(process.cmdline())
    return False


if __name__ == "__main__":
    main()
