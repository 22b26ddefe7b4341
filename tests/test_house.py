"""The rules of the house: which module may know what, and that DVC sees everything a result depends on."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from pipeline import config, learning, registry
from pipeline.__main__ import COHORT_STAGES, FOLD_STAGES, SUBTYPE_STAGES

PIPELINE = ROOT / "pipeline"
MODULES = sorted(path.stem for path in PIPELINE.glob("*.py") if not path.stem.startswith("__"))
STAGES = {**COHORT_STAGES, **FOLD_STAGES, **SUBTYPE_STAGES}

# Each outside tool is known to one module; where there are more, for the reason given.
TOOLS = {
    "great_expectations": {"quality"},
    # the server; what a run says; models; those in use; a model's own code; the trials of a search
    "mlflow": {"tracking", "runs", "registry", "champions", "served", "search_runs"},
    "optuna": {"study"},
    "tensorflow": {"device", "batch_norm"},  # set-up; one layer
    "jax": {"device"},
    # a network, which travels with the registered model; its training, which doesn't; which backend Keras has; one layer
    "keras": {"model", "fitting", "device", "batch_norm"},
    "matplotlib": {"figures", "evaluate"},  # evaluate names the type of what it saves
    "kagglehub": {"download"},
    "imagecodecs": {"tiff_pixels"},
    "simplejpeg": {"jpeg"},
    "rich": {"console"},
    "prefect": set(),
    "dvc": set(),
}

# They change no result: how parameters are read, where files lie, what is printed, how many cores
# work, and the record kept in MLflow.
INERT = {"config", "paths", "errors", "console", "cores", "tracking", "registry"}


@cache
def imports(path: Path, by_place: bool = True) -> frozenset[str]:
    """Every module a file imports, anywhere in it; `from pipeline import x` counts as pipeline.x, `from . import x` too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (by_place or not node.level):
            module = ".".join(["pipeline"] * node.level + [node.module] * bool(node.module))  # by place: those beside it
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "pipeline" else {module}
    return frozenset(found)


def own_imports(module: str) -> set[str]:
    return {name.split(".")[1] for name in imports(PIPELINE / f"{module}.py") if name.startswith("pipeline.")}


def closure(module: str) -> set[str]:
    """The modules of the package that `module` depends on; behind an inert module nothing is followed."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += own_imports(name) - INERT
    return seen - INERT


@cache
def dag() -> dict[str, Any]:
    stages: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    return stages


@pytest.mark.parametrize("module", MODULES)
def test_outside_tools_are_known_to_one_module(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(PIPELINE / f"{module}.py")}
    for tool, allowed in TOOLS.items():
        assert tool not in roots or module in allowed, f"{module} imports {tool}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    others = {"flows", "infra", "tests", "bench"}
    assert not {name for name in imports(PIPELINE / f"{module}.py") if name.split(".")[0] in others}
    assert not own_imports(module) & set(STAGES), f"{module} imports a stage; stages are called, not imported"


@pytest.mark.parametrize("path", registry.CODE, ids=lambda path: path.stem)
def test_code_that_travels_with_a_model_imports_nothing_that_does_not(path: Path) -> None:
    assert not {name for name in imports(path, by_place=False) if name.split(".")[0] == "pipeline"}
    assert own_imports(path.stem) <= {other.stem for other in registry.CODE}


def test_stage_is_module_is_command_is_params_section() -> None:
    assert set(dag()) == set(STAGES)
    for stage in STAGES:
        assert (PIPELINE / f"{stage}.py").is_file()
        assert dag()[stage]["cmd"].split()[:4] == ["python", "-m", "pipeline", stage]
    sections = {name for name in YAML(typ="safe").load(ROOT / "params.yaml") if name in config.Config.model_fields}
    assert sections <= set(STAGES) | {"seed", "control", "subtypes", "image_px", "image_um", "tune"}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_what_a_stage_imports(stage: str) -> None:
    listed = {Path(dep).stem for dep in dag()[stage]["deps"] if dep.startswith("pipeline/") and dep.endswith(".py")}
    travels = {path.stem for path in registry.CODE} if stage == "register" else set()
    assert listed - travels <= closure(stage), "a module is listed that the stage does not import"
    assert closure(stage) <= listed, "a change of these would not make the stage stale"


def test_checkpoints_are_tied_to_the_code_that_dvc_ties_training_to() -> None:
    listed = {Path(dep).stem for dep in dag()["train"]["deps"] if dep.startswith("pipeline/")}
    assert set(learning.CODE) - INERT == listed


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_a_stage_reads_is_one_of_its_params(stage: str) -> None:
    """By the text of the modules behind the stage: `config.<key>` and `config.<section>.<key>`."""
    listed = {name.replace("${item.subtype}", "*") for name in dag()[stage].get("params", [])}
    read = set()
    for module in {stage} | (closure(stage) & {"rules", "tables", "manifest"}):
        for node in ast.walk(ast.parse((PIPELINE / f"{module}.py").read_text())):
            if isinstance(node, ast.Attribute):
                read.add(ast.unparse(node))
    keys = {
        name.removeprefix("config.").replace("validate_", "validate").replace("register_", "register")
        for name in read
        if name.startswith("config.")
    }
    keys = {"control" if key == "classes" else key.replace("[subtype]", ".*") for key in keys}
    for key in keys:
        section = key.split(".")[0]
        if section in config.Config.model_fields or section in ("validate", "register"):
            ancestors = {key.rsplit(".", n)[0] for n in range(key.count(".") + 1)}
            below = any(name.startswith(f"{key}.") for name in listed)  # it is passed on, and some key of it is listed
            assert ancestors & listed or below, f"{stage} reads {key}"


def test_all_of_train_but_folds_and_other_models_is_a_param_of_train() -> None:
    listed = {name.removeprefix("train.") for name in dag()["train"]["params"] if name.startswith("train.")}
    assert listed == set(config.Train.model_fields) - {"folds", "models"} | {"models.${item.subtype}"}


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
    code = "import sys, pipeline.evaluate, pipeline.report; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_tensorflow_says_nothing_where_a_training_begins() -> None:
    code = "from pipeline import batch_norm, device, fitting, model; device.prepare('auto')"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("", "")


def test_the_lock_holds_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned = [line for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert len(pinned) > 100
    assert all(line.endswith("\\") for line in pinned)  # every one goes on with its hashes
    assert "://" not in text
    assert "index-url" not in text
