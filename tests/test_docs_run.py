"""Every command of README and docs, run on the demo, prints what stands there: numbers, file names, tables.

A command is run unless NOT_RUN has a reason against it. What a processor changes (figures of networks, and who is champion by
them) is compared to the digit where the figures in this repository came out again, else by its form. The demo is made
once, from what DVC's cache has of it (after `make demo` in this checkout: some minutes for all); without a cache that takes as
long as `make demo`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import ROOT
from documentation import PAGES, PROGRAMS, Block, Step, blocks, simple_commands, within_prose
from processes import CLEAN

pytestmark = pytest.mark.documentation

NOT_RUN = {  # the beginning of a command, or a word in it: the reason
    r"^make (test|rehearse|torture|docs|check|fix|audit|lock|serve|deploy)\b": "the tests themselves, PyPI, or until Ctrl-C",
    r"make secrets|docker|kubectl|infra\.|export AWS_ENDPOINT_URL": "a team's servers: tests/test_team.py, infra.rehearsal",
    r"export MLFLOW_TRACKING_URI|export PREFECT_API_URL|remote modify .*AWS_ENDPOINT_URL": "a server elsewhere",
    r"python -m bench\.": "minutes to hours, or a GPU; tests/test_docs.py holds its flags",
    r"pip install|nvidia-|KERAS_BACKEND": "a GPU",
    r"uv tool": "installs for the whole account",
    r"deploy --trainers|--deployment|prefect": "two machines: tests/flows/test_workers.py",
    r"flows refresh|flows tune|TUNE_STORAGE": "trains for minutes: tests/flows, tests/search",
    r"pipeline (tune|transfer|train|ingest|init FOLDER)": "trains or copies for minutes: tests/stages",
    r"params.kaggle|\.worktrees|^dvc repro$|^dvc repro (--force|split|embed)": "trains, or asks Kaggle: test_end_to_end",
    r"dvc exp|metrics diff": "trains for minutes: tests/test_experiments.py",
    r"^mlflow|^curl": "a server, or a team's store: tests/registry",
    r"dvc (push|pull|fetch|gc)|git (pull|fetch|checkout|rm)|--relink": "a remote, or other commits: test_end_to_end",
    r"predict week2|pipeline drift$|on_drift.yaml": "another stain, an automation: tests/stages/test_drift.py",
    r"--on 2026-11-27T08:00": "decisions and commits of a day that is past: tests/flows/test_history.py",
    r"flows compare base": "a commit with scores turned round by hand: tests/flows/test_compare.py",
    r"--truth image_annotation_master": "experts' labels that are not shipped: tests/curation/test_expert_labels.py",
    r"<|FOLDER|FILE\b|incoming|/secure|\.\.\.$|^ssh|pipeline predict$": "a name that the reader puts in",
    r"^rm -r mlflow.db|pipeline (promote|rollback)": "needs a past champion: tests/registry/test_decisions.py",
    r"^dvc (commit|exp|plots|repro)( --force| run)?$": "a verb, named",
}
STANDS_FOR = {"/where/it/lies": "data/raw", "/new/patient": "data/raw/NPM1/ALW", "cell.tif": "data/raw/NPM1/ALW/image_1.tif"}
TODAY = {"--on 2026-11-01": f"--on {datetime.now(UTC):%Y-%m-%d}"}  # the demo's first decision is of the day it is made
NEVER_THE_SAME = {  # a command: what differs from one run to the next, whatever the processor
    "python -m pipeline curate": r"\b\d+ (s|min)\b",  # how long it took
    "python -m flows gc": r"\d+(\.\d+)?",  # how many states of the results the cache has seen
}
OF_NETWORKS = re.compile(r"\d*\.\d+|\bv\d\b|champion|challenger|called|\(-?[\d.]+ to [\d.]+\)")


SHORTENED = {
    r"&& dvc repro$": "&& dvc repro split",  # what is told is printed by then; the rest trains for minutes
    r"^make demo$": "make -o .venv/.synced demo",  # the environment is there
}


def typed(command: str) -> str:
    """A command without the comments behind it, shortened where the rest of it would train."""
    bare = re.sub(r" +# .*", "", command)
    for pattern, shorter in SHORTENED.items():
        bare = re.sub(pattern, shorter, bare)
    return bare


def reason(command: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, typed(command))), None)


def to_run(block: Block) -> list[Step]:
    return [step for step in block.steps if not reason(step.command)]


BLOCKS = [block for page in PAGES for block in blocks(page) if to_run(block)]
IN_PROSE = sorted(
    {
        code
        for page in PAGES
        for code in within_prose(page)
        if code.split()[0] in PROGRAMS and len(code.split()) > 1 and simple_commands(code) and not reason(code)
    }
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with this checkout's changes in which `make demo` has run."""
    folder = tmp_path_factory.mktemp("docs") / "demo"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for kept in (".dvc/cache", ".vectors"):
        if (ROOT / kept).is_dir():
            shutil.copytree(ROOT / kept, folder / kept, copy_function=os.link)
    (folder / ".venv").symlink_to(sys.prefix)
    somebody = "-c user.name=t -c user.email=t@localhost"
    save = f"git checkout --quiet -B main && git add -A . && git {somebody} commit --quiet --allow-empty -m now"
    made = shell(folder, "dvc config --local cache.type copy", save, "make -o .venv/.synced demo")
    assert made[-1].rstrip().endswith("report: reports/index.html"), made[-1]
    return folder


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Iterator[Path]:
    """The demo, in which a block may do what it does; no stage that it changes is known to have run before."""
    target = tmp_path / "demo"
    shutil.copytree(demo, target, symlinks=True, ignore=shutil.ignore_patterns("cache", "mlartifacts", "tmp"))
    shutil.copytree(demo / ".dvc/cache", target / ".dvc/cache", copy_function=os.link, ignore=shutil.ignore_patterns("runs"))
    (target / "mlartifacts").symlink_to(demo / "mlartifacts")  # MLflow's paths are whole ones
    known = set((demo / "mlartifacts").iterdir())
    yield target
    for left in set((demo / "mlartifacts").iterdir()) - known:  # of an experiment that no other copy knows
        shutil.rmtree(left)


def shell(folder: Path, *typed: str) -> list[str]:
    """What each command prints, of one shell in which all succeed."""
    mark = "=== ended ==="
    script = "\n".join(f"{{ {command}\n}} 2>&1 || exit; echo; echo '{mark}'" for command in typed)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**CLEAN, "VIRTUAL_ENV_DISABLE_PROMPT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{typed}\n{done.stdout[-4000:]}"
    return done.stdout.split(f"\n{mark}\n")[: len(typed)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{Path(block.page).name}:{block.line}")
def test_a_block_prints_what_stands_below_it(copy: Path, demo: Path, block: Block) -> None:
    PREPARED.get(typed(block.steps[0].command), lambda folder: None)(copy)
    if block.language == "python":
        return check_snippet(copy, demo, block.text)
    steps = to_run(block)
    commands = [typed(step.command) for step in steps]
    for name, meant in {**{name: str(demo / place) for name, place in STANDS_FOR.items()}, **TODAY}.items():
        commands = [command.replace(name, meant) for command in commands]
    for number, step in enumerate(steps):
        if step.printed and step.printed[-1].startswith("error: "):  # it is refused, or the page is wrong
            commands[number] = f"! {{ {commands[number]}\n}}"
    for step, printed in zip(steps, shell(copy, *commands), strict=True):
        if step.printed:
            differs = NEVER_THE_SAME.get(step.command, "(?!)")
            told, printed_lines = (
                [re.sub(differs, "#", line) for line in lines] for lines in (step.printed, printed.splitlines())
            )
            found = difference(told, printed_lines, exact=are_the_same_networks(demo))
            assert found is None, f"{step}\n{found}\nprinted:\n{printed}"
    return None


def are_the_same_networks(folder: Path) -> bool:
    """Whether every figure that this repository holds of the demo came out again."""
    held = [file for file in ROOT.glob("reports/*/*/metrics.json") if "call" not in file.parts]
    made = [json.loads((folder / file.relative_to(ROOT)).read_text()) for file in held]
    return all(json.loads(file.read_text()).items() <= figures.items() for file, figures in zip(held, made, strict=True))


def difference(told: list[str], printed: list[str], exact: bool) -> str | None:
    """The first told line that is not printed where it should be; `...` stands for any number of lines."""
    at, anywhere = 0, False
    lines = [form(line, exact) for line in printed]
    while lines and not lines[-1]:
        lines.pop()
    for line in told:
        if line == "...":
            anywhere = True
            continue
        rest = lines[at:] if anywhere else lines[at : at + 1]
        if form(line, exact) not in rest:
            return f"not there: {line}"
        at, anywhere = at + rest.index(form(line, exact)) + 1, False
    return None if anywhere or at == len(lines) else f"not told: {lines[at]}"


def form(line: str, exact: bool) -> str:
    line = " ".join(re.sub(r"\x1b\[[\d;]*m", "", line).split())
    return line if exact else OF_NETWORKS.sub("#", line)


def check_snippet(folder: Path, demo: Path, code: str) -> None:
    """In the checkout; one that says where MLflow is, from a folder of its own, in which it leaves nothing."""
    (elsewhere := folder / "elsewhere").mkdir()
    place = elsewhere if "set_tracking_uri" in code else folder
    code = code.replace("http://127.0.0.1:5000", f"sqlite:///{demo}/mlflow.db")
    for name, path in STANDS_FOR.items():
        code = code.replace(name, str(demo / path))
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "TensorFlow does not greet"
    assert list(elsewhere.iterdir()) == []


def wider_network(folder: Path) -> None:
    """NPM1 gets another dense layer, as the page says."""
    params = folder / "params.yaml"
    text = params.read_text()
    changed = re.sub(r"(\n +NPM1: .*?dense: )\[256\]", r"\1[256, 64]", text, count=1)
    assert changed != text
    params.write_text(changed)


def comment_mended(folder: Path) -> None:
    module = folder / "pipeline/networks/loss.py"
    module.write_text(f"{module.read_text()}# mended\n")


def reviewed(folder: Path) -> None:
    """What the page exports after three decisions."""
    decided = {"image_1": "normal cell", "image_2": "normal cell", "image_3": "keep"}
    rows = [f"NPM1/ALW/{image}.tif,ALW,{decision},Dr A,2026-11-01T12:00:00Z" for image, decision in decided.items()]
    (folder / "review-Dr-A.csv").write_text("\n".join(["path,patient,decision,reviewer,date", *rows, ""]))


PREPARED: dict[str, Callable[[Path], None]] = {  # what a page says is done before, by the first command
    "dvc repro --quiet candidates && dvc status": wider_network,
    "dvc status --quiet train@NPM1-published-0 || echo stale": comment_mended,
    "python -m pipeline curate --take review-Dr-A.csv": reviewed,
}


def test_commands_within_prose_succeed(copy: Path) -> None:
    shell(copy, *map(typed, IN_PROSE))


def test_every_reason_still_holds_a_command_back() -> None:
    commands = [typed(step.command) for page in PAGES for block in blocks(page) for step in block.steps]
    commands += [code for page in PAGES for code in within_prose(page)]
    assert not [pattern for pattern in NOT_RUN if not any(re.search(pattern, command) for command in commands)]
