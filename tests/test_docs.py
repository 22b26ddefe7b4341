"""What README and docs name is there: commands and their flags, files, settings, variables.

`make rehearse` runs the commands and compares what they print (tests/test_docs_run.py).
"""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from documentation import PAGES, blocks, simple_commands, within_prose
from ruamel.yaml import YAML

from pipeline.__main__ import _parser

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
PLACEHOLDER = re.compile(r"<[\w ]+>|\*")
# Names of other programs' files, and of what a reader brings.
NOT_OURS = {
    "./mlruns",
    ".dvc/tmp/rwlock",
    "2>/dev/null",
    "genbloom.csv",
    "keras.json",
    "scemila.csv",
    "Thumbs.db",
    "__init__.py",
}


@cache
def source() -> str:
    """The text of all code and settings, in which a name has to stand that the docs promise."""
    files = [path for room in ("pipeline", "flows", "infra", "bench") for path in (ROOT / room).rglob("*.*")]
    texts = [*(ROOT / name for name in ("dvc.yaml", "Makefile", ".gitignore")), *files]
    suffixes = {"", ".py", ".yaml", ".yml", ".sh", ".j2", ".toml", ".json"}
    return "\n".join(path.read_text() for path in texts if path.is_file() and path.suffix in suffixes)


def typed(page: Path) -> list[list[str]]:
    """Every command of a page, those within prose too."""
    steps = [step.command for block in blocks(page) if block.language == "" for step in block.steps]
    return [words for line in [*steps, *within_prose(page)] for words in _words(line)]


def _words(line: str) -> list[list[str]]:
    try:
        return simple_commands(line)
    except ValueError:  # a quotation mark alone: no command
        return []


@by_page
def test_every_command_is_there_with_its_flags(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for words in typed(page):
        if words[:2] == ["python", "-m"] and len(words) > 2:
            package, _, module = words[2].partition(".")
            flags = {word.split("=")[0] for word in words[3:] if word.startswith("--")}
            if words[2] == "pipeline":
                unknown = _unknown_to_the_pipeline(words[3:], flags)
            elif package in ("flows", "bench", "infra"):
                place = ROOT / package / module
                file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
                text = file.read_text() if file.is_file() else ""
                names = words[3:4] if package == "flows" and words[3:4] != ["<flow>"] else []
                unknown = [name for name in [*flags, *names] if f'"{name}"' not in text] if text else [words[2]]
            else:
                unknown = []
        elif words[0] == "make":
            unknown = [word for word in words[1:] if word not in targets and "=" not in word]
        else:
            unknown = []
        wrong += [f"{' '.join(words)}: {name}" for name in unknown]
    assert not wrong


def _unknown_to_the_pipeline(words: list[str], flags: set[str]) -> list[str]:
    stages: dict[str, Any] = _parser()._subparsers._group_actions[0].choices
    if not words or words[0] == "--help" or PLACEHOLDER.fullmatch(words[0]):
        return []
    if words[0] not in stages:
        return [words[0]]
    return sorted(flags - set(stages[words[0]]._option_string_actions))


@by_page
def test_dvc_takes_every_command_of_its_own(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dvc.cli.parser import get_main_parser

    parser, refused = get_main_parser(), []
    for words in typed(page):
        if words[0] == "dvc" and words[1:] not in ([], ["exp", "run", "-S"]):
            try:
                parser.parse_args(words[1:])
            except BaseException as error:  # its own, which it raises for what it does not know
                refused.append(f"{' '.join(words)}: {type(error).__name__}")
    assert not refused, capsys.readouterr().err


@by_page
def test_every_file_is_there_or_named_by_the_code(page: Path) -> None:
    rooms = {path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir()}
    missing = []
    for code in within_prose(page):
        if not re.fullmatch(
            r"[\w.<>*@-]*/[\w./<>*@-]*|[\w<>-]+\.(csv|json|jsonl|npz|npy|parquet|html|md|lock|yaml|py|db)", code
        ):
            continue
        parts = [part for part in code.split("/") if part not in ("", ".", "..", "...")]
        if code.startswith(("/", "STATE")) or code in NOT_OURS or not parts:
            continue
        if parts[0] in rooms and not (ROOT / parts[0]).is_dir():
            parts = ["pipeline", *parts]
        pattern = "/".join(PLACEHOLDER.sub("*", part) for part in parts)
        if any(ROOT.glob(pattern)) or any(ROOT.glob(f"{pattern}.py")):
            continue
        literal = [part for part in parts if not PLACEHOLDER.search(part)]
        promised = parts[0] not in ("pipeline", "flows", "docs", "tests", "bench") and (
            all(
                re.search(rf"(?<![\w.-]){re.escape(part)}(?![\w-])|\"{re.escape(part.split('.')[0])}\"", source())
                for part in literal
            )
        )
        missing += [] if promised else [code]
    assert not missing


@by_page
def test_what_a_page_shows_as_printed_is_in_words_of_the_code(page: Path) -> None:
    """Of every line of ten words or more, three that follow one another stand in the code; shorter ones are names, numbers."""
    code = re.sub(r"[\W_]+", " ", re.sub(r'"\s*\n\s*(?:if [^"]*|\+ )?f?"', "", source())).lower()
    strange = []
    for block in blocks(page):
        printed = block.text.splitlines() if block.language == "" and not block.steps and page.name != "map.md" else []
        for line in [*printed, *(line for step in block.steps for line in step.printed)]:
            words = re.findall(r"[^\W\d_]+", re.sub(r"\b[0-9a-f]{12,}\b", "", line.lower()))  # a digest is no word
            runs = [" ".join(words[at : at + 3]) for at in range(len(words) - 2)]
            if len(set(words)) >= 10 and "│" not in line and not any(f" {run} " in code for run in runs):
                strange.append(line)
    assert not strange


@by_page
def test_every_setting_is_in_params_yaml(page: Path) -> None:
    both = [YAML(typ="safe").load(ROOT / name) for name in ("params.yaml", "params.kaggle.yaml")]
    unknown = []
    for code in within_prose(page):
        first, *rest = code.split(".")
        if not re.fullmatch(r"[a-z]\w*(\.\w+)+", code) or first not in both[0] or (ROOT / code).exists():
            continue
        if re.search(r"\.(csv|json|md|yaml|lock|py)$", code):
            continue
        unknown += [] if any(_holds(values[first], rest) for values in both) else [code]
    assert not unknown


def _holds(values: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def test_what_docs_say_of_environment_variables_is_what_the_code_reads() -> None:
    """Every one in the table of docs/machine.md, those of ports by the server's name."""
    told = {
        name
        for line in (ROOT / "docs/machine.md").read_text().splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z][A-Z_]+)`", line.split("|")[1])
    }
    assert told
    assert not [name for name in told if name not in source() and f'"{name.removesuffix("_PORT").lower()}":' not in source()]


def test_the_files_that_git_ignores_are_those_that_are_made() -> None:
    """dvc_plots, predictions and the like: what a command of the docs leaves behind is nobody's to commit by accident."""
    left = ["dvc_plots/index.html", "predictions/NPM1/index.html", "mlflow.db", ".tune/studies.db", "dvc-remote/files"]
    done = subprocess.run(["git", "check-ignore", *left], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == left


def test_a_notebook_holds_no_results_and_its_code_parses() -> None:
    """A picture in it would be a patient's cell."""
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = json.loads(file.read_text())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert (notebook["nbformat"], len({cell["id"] for cell in notebook["cells"]})) == (4, len(notebook["cells"]))
        assert not [cell for cell in code if cell["outputs"] or cell["execution_count"]]
        compile("\n".join("".join(cell["source"]) for cell in code), str(file), "exec")


def test_patients_data_is_kept_out_of_a_commit() -> None:
    hooks = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    (guard,) = [hook for hook in hooks if hook["id"] == "patients"]

    def stopped(name: str) -> bool:
        return bool(re.search(guard["files"], name)) and not re.search(guard["exclude"], name)

    ours = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert not [name for name in ours if stopped(name)]
    theirs = ["data/raw/NPM1/ALW/image_1.tif", "data/patients.csv", "notes/cell.TIFF", "data/manifest.parquet", "cohort.xlsx"]
    assert [name for name in theirs if not stopped(name)] == []


def test_the_diagram_has_every_stage_and_no_arrow_that_dvc_does_not_have() -> None:
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    (picture,) = [block.text for block in blocks(ROOT / "README.md") if block.language == "mermaid"]
    drawn = set()
    for line in picture.splitlines()[1:]:
        groups = [re.findall(r"\w+", part) for part in re.split(r"-->|-\.->", re.sub(r"\[.*?\]", "", line))]
        drawn |= {(a, b) for before, after in itertools.pairwise(groups) for a in before for b in after}
    assert {name for arrow in drawn for name in arrow} == {*stages, "source", "params"}
    made = {name: _places(stage.get("outs", []), stage.get("metrics", [])) for name, stage in stages.items()}
    needed = {name: _places(stage.get("deps", [])) for name, stage in stages.items()}
    wrong = [
        (before, after)
        for before, after in drawn
        if before in stages and not any(_meet(out, dep) for out in made[before] for dep in needed[after])
    ]
    assert not wrong


def test_a_flow_of_the_demo_has_as_many_stages_as_the_pages_say() -> None:
    settings, stages = (YAML(typ="safe", pure=True).load(ROOT / name) for name in ("params.yaml", "dvc.yaml"))

    def many(of: str) -> int:
        return len(reduce(lambda found, key: found[key], of[2:-1].split("."), settings))  # ${call.candidates}

    count = sum(math.prod(many(of) for of in stage.get("matrix", {}).values()) for stage in stages["stages"].values())
    assert f"training: Completed. {count} stages: {count} unchanged" in (ROOT / "README.md").read_text()
    assert re.findall(r"stage \d+ of (\d+)", (ROOT / "docs/flows.md").read_text()) == [str(count)]


def _places(*lists: list[Any]) -> list[list[str]]:
    """Paths of dvc.yaml in parts; what a matrix puts in is a star."""
    listed = [next(iter(place)) if isinstance(place, dict) else place for places in lists for place in places]
    return [["*" if "$" in part else part for part in place.split("/")] for place in listed]


def _meet(one: list[str], other: list[str]) -> bool:
    """Whether one path is the other, or lies below it."""
    return all(a == b or "*" in (a, b) for a, b in zip(one, other, strict=False))
