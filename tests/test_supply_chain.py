"""What is installed is what was locked; what comes in as data, as a model or as a parameter is never run as code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import mlflow
import pytest
from conftest import ROOT
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from mlflow import MlflowClient

from infra import audit, sbom
from pipeline.common.errors import ModelError
from pipeline.registry import champions, mlflow_runs, mlflow_server, versions

CODE = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("flows/*.py"), *ROOT.glob("infra/*.py")])
# They build objects of what they read, and what they read may say which.
UNPICKLERS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "yaml",
    "torch",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    "read_pickle",
    "to_pickle",
    "load_model",
    "model_from_json",
    "from_config",
    "eval",
    "query",
    "system",
    "popen",
    "unsafe_load",
}
KNOWN = {  # where a name on the list is something else, or is made safe
    "pipeline/encoders/kept_network.py: model_from_json": "layers of Keras' own: safe mode refuses code",
    "pipeline/encoders/torch_file.py: pickle": "an unpickler that admits tensors only",
    "pipeline/registry/champions.py: load_model": "after `_require_code`: our code with weights, no pickle",
}


def findings(source: str) -> list[str]:
    """What in a module could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names if alias.name.split(".")[0] in UNPICKLERS]
            case ast.ImportFrom(module=module) if (module or "").split(".")[0] in UNPICKLERS:
                found.append(str(module))
            case ast.Call(func=ast.Name(id=name)) if name in BUILTINS:
                found.append(name)
            case ast.Call(func=ast.Name(id="YAML"), keywords=keywords):
                if (
                    not any(word.arg == "typ" and ast.unparse(word.value) in ("'safe'", "'rt'") for word in keywords)
                    and keywords
                ):
                    found.append("YAML")
            case ast.Call(func=ast.Attribute(attr=name)) if name in METHODS:
                found.append(name)
        if isinstance(node, ast.Call):
            for word in node.keywords:
                if (word.arg, ast.unparse(word.value)) in (("allow_pickle", "True"), ("shell", "True"), ("safe_mode", "False")):
                    found.append(f"{word.arg}={ast.unparse(word.value)}")
    return found


@pytest.mark.parametrize("file", CODE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_that_is_read_can_be_run(file: Path) -> None:
    name = file.relative_to(ROOT).as_posix()
    assert [what for what in findings(file.read_text()) if f"{name}: {what}" not in KNOWN] == []


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from joblib import load",
        "import yaml",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "frame.query(text)",
        "keras.models.load_model(path)",
        "YAML(typ='unsafe')",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
    ],
)
def test_the_scan_finds_what_it_looks_for(bad: str) -> None:
    assert len(findings(bad)) == 1


class Pickled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


def test_a_registered_model_that_holds_a_pickle_is_not_loaded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    client: MlflowClient = mlflow_server.connect()
    experiment = mlflow_runs.ensure_experiment(client, "NPM1")
    with mlflow.start_run(experiment_id=experiment):
        logged = mlflow.pyfunc.log_model(name="model", python_model=Pickled(), pip_requirements=["numpy"])
    client.create_registered_model("NPM1")
    version = client.create_model_version("NPM1", logged.model_uri, model_id=logged.model_id)
    client.set_registered_model_alias("NPM1", versions.CHAMPION, version.version)
    with pytest.raises(ModelError, match="NPM1 v1: was not registered by this pipeline"):
        champions.load(client, "NPM1")


def test_every_locked_package_has_hashes_and_no_address() -> None:
    for lock in (audit.LOCK, audit.CUDA):
        text = lock.read_text()
        entries = re.findall(
            r"^[A-Za-z0-9._-]+(?:\[.*\])?==[^\n]*\n(?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n)+", text, re.MULTILINE
        )
        assert len(entries) == len(re.findall(r"^[A-Za-z].*==", text, re.MULTILINE)) >= len(audit.locked(lock)) > 40
        assert not re.search(
            r"https?://|file:|--index|--find-links", "\n".join(line for line in text.splitlines() if line[:1] != "#")
        )
    assert "--require-hashes requirements.lock" in (ROOT / "Makefile").read_text()


def test_every_licence_is_allowed_or_was_looked_at() -> None:
    found, faults = audit.licences()
    assert len(found) > 200
    assert faults == []


def test_a_locked_package_that_is_not_there_has_no_licence_and_names_are_compared_as_pypi_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "Py.Test_Nowhere==1.0 \\\n    --hash=sha256:0\n"
        "another-nowhere==1.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:0\n"
        "RuaMel_Yaml==1.0 \\\n    --hash=sha256:0\n"
    )
    monkeypatch.setattr(audit, "LOCK", lock)
    found, faults = audit.licences()
    assert set(found) == {"ruamel-yaml"}
    assert [fault for fault in faults if "not installed" in fault] == [
        "py-test-nowhere: in requirements.lock, but not installed, so its licence is unknown; run make first"
    ]


def test_the_bill_of_materials_is_valid_complete_and_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for bill in (first, second):
        sbom.write(audit.LOCK, {"pillow": "MIT-CMU", "odd": "Own words"}, "project", bill)
    assert first.read_bytes() == second.read_bytes()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first.read_text()) is None
    made = json.loads(first.read_text())
    (pillow,) = (one for one in made["components"] if one["name"] == "pillow")
    assert {one["name"] for one in made["components"]} == audit.locked(audit.LOCK)
    assert pillow["purl"] == f"pkg:pypi/pillow@{pillow['version']}"
    assert pillow["licenses"] == [{"license": {"id": "MIT-CMU"}}]
    (files,) = pillow["externalReferences"]
    assert all(one["content"] in audit.LOCK.read_text() for one in files["hashes"])
    needs = {one["ref"]: one.get("dependsOn", []) for one in made["dependencies"]}
    assert pillow["bom-ref"] in needs["project"]
    assert pillow["bom-ref"] in next(below for ref, below in needs.items() if ref.startswith("matplotlib=="))


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("Apache-2.0 AND GPL-2.0-or-later", False),
        ("MPL-2.0 AND (GPL-3.0 OR MIT)", True),
        ("(GPL-3.0 AND MIT) OR GPL-2.0", False),
        ("", False),
    ],
)
def test_licence_expressions(expression: str, allowed: bool) -> None:
    assert audit.is_allowed(expression, ["MIT", "Apache-2.0", "MPL-2.0"]) is allowed
