"""The rules of the house that the linters cannot say: DVC sees all that a result depends on, names agree, starts are light.

Which room may import which, and which outside tool is known where, are contracts in pyproject.toml (`lint-imports`).
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import conftest
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from pipeline.__main__ import ALL_CLASSES_STAGES, CANDIDATE_STAGES, COHORT_STAGES, ENCODER_STAGES, FOLD_STAGES
from pipeline.common import config
from pipeline.networks import recipe
from pipeline.registry import model_files

PIPELINE = ROOT / "pipeline"
ROOMS = sorted(path.name for path in PIPELINE.iterdir() if (path / "__init__.py").is_file())
STAGES = {**COHORT_STAGES, **ENCODER_STAGES, **FOLD_STAGES, **CANDIDATE_STAGES, **ALL_CLASSES_STAGES}
REGISTER = ("register", "register_call")
TRAVELS = [module.relative_to(PIPELINE).as_posix() for module in model_files.CODE]

# They change no result: settings, paths, the terminal, cores; and, but for `register`, the record kept in MLflow.
INERT = {"common"}
RECORDS = "registry"


@cache
def own_imports(module: Path) -> frozenset[Path]:
    """The modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level == 1 or (node.module or "").split(".")[0] == "pipeline"):
            place = (module.parent if node.level else ROOT).joinpath(*(node.module or "").split("."))
            found |= {place / f"{alias.name}.py" for alias in node.names} | {place.with_suffix(".py")}
    return frozenset(file for file in found if file.is_file())


def rooms_behind(stage: str) -> set[str]:
    """The rooms with a module that the stage imports, directly or not; behind an inert one nothing is followed."""
    inert = INERT if stage in REGISTER else INERT | {RECORDS}
    seen: set[Path] = set()
    waiting = [PIPELINE / "stages" / f"{stage}.py"]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += [] if module.parent.name in inert else own_imports(module)
    return {module.parent.name for module in seen} - {"stages"} - inert


@cache
def dag() -> dict[str, Any]:
    stages: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    return stages


def code_deps(stage: str) -> set[str]:
    return {dep.removeprefix("pipeline/") for dep in dag()[stage]["deps"] if dep.startswith("pipeline/")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_and_re_exports_nothing(room: str) -> None:
    tree = ast.parse((PIPELINE / room / "__init__.py").read_text())
    assert len(tree.body) == 1, "an __init__.py holds its docstring alone"
    assert 2 <= len((ast.get_docstring(tree) or "").splitlines()) <= 5


@pytest.mark.parametrize("module", TRAVELS)
def test_code_that_travels_with_a_model_imports_nothing_of_the_package_that_does_not(module: str) -> None:
    """What lies beside it travels beside it, so it is imported by place: `from . import tiff`."""
    froms = [node for node in ast.walk(ast.parse((PIPELINE / module).read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [node for node in froms if (node.module or "").startswith("pipeline")]
    assert {other.relative_to(PIPELINE).as_posix() for other in own_imports(PIPELINE / module)} <= set(TRAVELS)


VIOLATIONS = {  # a module, and what it must not import
    "pipeline/folds/dealer.py": "from pipeline.search import space",
    "pipeline/stages/pack.py": "from pipeline.stages import split",
    "pipeline/pages/rendering.py": "import prefect",
    "flows/errors.py": "from pipeline.common import paths",
    "pipeline/common/addresses.py": "import great_expectations, mlflow, optuna, keras, h5py, matplotlib, kagglehub, rich",
    "pipeline/common/files.py": "import imagecodecs, simplejpeg",
}


def test_the_contracts_catch_what_they_forbid(tmp_path: Path) -> None:
    for name in ("pipeline", "flows", "infra"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "state", "secrets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = ["lint-imports", "--no-logo", "--no-cache"]
    sound = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert sound.returncode == 0, sound.stdout
    for name, planted in VIOLATIONS.items():
        module = tmp_path / name
        module.write_text(f"{module.read_text()}\n{planted}\n")
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    kept = [line for line in found.stdout.splitlines() if line.endswith("KEPT")]
    assert (found.returncode, kept) == (1, []), "every contract is broken"


def test_stage_is_module_is_command_is_params_section() -> None:
    assert set(dag()) == set(STAGES)
    for stage in STAGES:
        assert (PIPELINE / "stages" / f"{stage}.py").is_file()
        assert dag()[stage]["cmd"].split()[:4] == ["python", "-m", "pipeline", stage]
    sections = {name for name in YAML(typ="safe").load(ROOT / "params.yaml") if name in config.Config.model_fields}
    shared = {
        "seed",
        "control",
        "subtypes",
        "image_px",
        "image_um",
        "folds",
        "kinds",
        "encoders",
        "down_weighted",
        "tune",
        "transfer",
        "curate",
        "drift",
    }
    assert sections <= set(STAGES) | shared


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_stage_and_the_rooms_behind_it(stage: str) -> None:
    travels = {Path(module).parts[0] for module in TRAVELS} if stage in REGISTER else set()
    assert code_deps(stage) == {f"stages/{stage}.py"} | rooms_behind(stage) | travels


def test_checkpoints_are_tied_to_the_code_that_dvc_ties_training_to() -> None:
    assert set(recipe.CODE) == code_deps("train")


def test_compiled_python_makes_no_stage_stale() -> None:
    ignored = subprocess.run(
        [sys.executable, "-m", "dvc", "check-ignore", "pipeline/networks/__pycache__"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert ignored.returncode == 0


# What a stage may ask of the configuration beside its keys, and what DVC then has to see for it.
ASKED = {
    "classes": {"control", "subtypes"},
    "network_of": {"data/candidates/${item.subtype}/${item.candidate}.json", "candidates"},
    "train_of": {"train"},
    "tuned_on": {"data/candidates/${item.subtype}/${item.candidate}.json"},
    "bag_of": {"data/candidates/${item.subtype}/${item.candidate}.json", "candidates.${item.candidate}"},
    "candidate_of": {"candidates"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_a_stage_reads_is_one_of_its_params(stage: str) -> None:
    """By the text of the stage, and of what reads the configuration for it: `config.<key>` and `config.<section>.<key>`."""
    listed = {*(key for key in dag()[stage].get("params", []) if isinstance(key, str)), *dag()[stage]["deps"]}
    modules = [PIPELINE / "stages" / f"{stage}.py"]
    modules += [PIPELINE / "validation" / f"{name}.py" for name in ("rules", "rule_tables") if stage == "validate"]
    modules += [PIPELINE / "auditing/twins.py"] if stage == "audit_networks" else []
    modules += [PIPELINE / "networks" / f"{name}.py" for name in ("recipe", "training") if stage in ("train", "audit_networks")]
    modules += [PIPELINE / "bags" / f"{name}.py" for name in ("recipe", "patients") if stage == "train_bags"]
    modules += [PIPELINE / "calling" / f"{name}.py" for name in ("calls", "model", "patients") if stage == "call"]
    read = set()
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Attribute):
                read.add(ast.unparse(node).removeprefix("prepared."))
    keys = {
        name.removeprefix("config.").replace("validate_", "validate").replace("register_", "register")
        for name in read
        if name.startswith("config.")
    }
    for key in keys:
        first = key.split(".")[0]
        ancestors = {key.rsplit(".", n)[0] for n in range(key.count(".") + 1)}
        below = any(name.startswith(f"{key}.") for name in listed)  # it is passed on, and some key of it is listed
        if first in ASKED:
            assert ASKED[first] & listed, f"{stage} asks {first}"
        elif first in config.Config.model_fields or first in ("validate", "register"):
            assert ancestors & listed or below, f"{stage} reads {key}"


@pytest.mark.parametrize("stage", ["train", "audit_networks"])
def test_a_new_setting_of_training_makes_networks_and_twins_stale(stage: str) -> None:
    assert "train" in dag()[stage]["params"], "the section as a whole"


def test_a_new_setting_of_the_call_makes_calls_stale_and_another_candidate_does_not() -> None:
    listed = {key for key in dag()["call"]["params"] if key.split(".")[0] == "call"}
    assert listed == {f"call.{name}" for name in config.Call.model_fields} - {"call.candidates"}


def test_the_map_has_every_room_and_module() -> None:
    tree = (ROOT / "docs/map.md").read_text()
    for folder in [*(PIPELINE / room for room in ROOMS), ROOT / "flows"]:
        (lines,) = re.findall(rf"^ *{folder.name}/( +.*\n(?: {{15}}.*\n)*)", tree, re.MULTILINE)
        modules = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
        assert set(re.findall(r"(\w+)\s+\(", lines)) == modules, folder


def test_the_readme_is_short_and_no_link_of_the_docs_leads_nowhere() -> None:
    """A link to a heading as GitHub names it: lower case, without punctuation, dashes for blanks."""
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
    index = (ROOT / "docs/README.md").read_text()
    assert not [page.name for page in pages[3:] if page.name != "README.md" and f"({page.name})" not in index]
    dead = []
    for page in pages:
        for place, _, heading in re.findall(r"\]\((?!https?:)([^)#]*)(#?)([^)]*)\)", page.read_text()):
            target = page.parent / place if place else page
            if not target.exists():
                dead.append(f"{page.name}: {place}")
            elif heading:
                titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                names = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                dead += [] if heading in names else [f"{page.name}: {place}#{heading}"]
    assert not dead


def test_help_and_mistakes_need_no_heavy_library() -> None:
    code = (
        "import sys; from pipeline.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'great_expectations', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_evaluation_needs_no_tensorflow() -> None:
    code = "import sys; from pipeline.stages import evaluate, report; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_tensorflow_says_nothing_where_a_training_begins() -> None:
    code = "from pipeline.networks import training_loop; from pipeline.machine import device; device.prepare('auto')"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("", "")


def test_the_lock_holds_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned = [line for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert len(pinned) > 100
    assert all(line.endswith("\\") for line in pinned)  # every one goes on with its hashes
    assert "://" not in text
    assert "index-url" not in text


@pytest.mark.parametrize(
    ("committed", "where"),
    [
        (["demo"], r"git worktree add --detach \.\./tested HEAD && cd"),
        (["demo", "folder"], r"git worktree add --detach \.\./tested [0-9a-f]{7,}\^ && cd"),
        (["folder"], "test in a clone of this project as it was published"),
        ([], "test in a clone of this project as it was published"),
    ],
)
def test_another_cohorts_params_are_not_taken_for_the_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: list[str], where: str
) -> None:
    def git(*words: str) -> None:
        named = ["git", "-c", "user.name=n", "-c", "user.email=e", *words]
        subprocess.run(named, cwd=tmp_path, check=True, capture_output=True)

    params, text = tmp_path / "params.yaml", (ROOT / "params.yaml").read_text()
    git("init")
    for source in committed:
        params.write_text(text.replace("  source: demo ", f"  source: {source} "))
        git("add", "params.yaml")
        git("commit", "--message", source)
    params.write_text(text.replace("  source: demo ", "  source: folder "))
    monkeypatch.setattr(conftest, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=where):
        conftest.demo_params()
