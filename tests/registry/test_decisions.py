"""MLflow is never the only copy of who is champion: data/decisions.jsonl outlives it, and `register` keeps to it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import registered
from candidates import candidate, champion
from conftest import ROOT
from scores import scores
from small_project import call, copy_of_the_repository

from pipeline.common import config, paths
from pipeline.common.errors import ModelError
from pipeline.registry import bringing_back, decisions, mlflow_server, registration
from pipeline.stages import promote, register

Params = Callable[[dict[str, Any]], config.Config]
KEYS = {"time", "subtype", "cohort", "candidate", "decision", "reason", "tried_before", "digest", "weights_sha256"}
KEYS |= {"patients_sha256", "results_md5", "commit", "dirty", "replaced"}


@pytest.fixture
def settings(params: Params, here: Path, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    return params({"register.gate.draws": 200})


@pytest.fixture
def lose_mlflow(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """An empty one in its place; at another address, because MLflow remembers databases by address."""
    return lambda name: monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/{name}.db")


def settle(settings: config.Config, given: registration.Candidate) -> str:
    client = mlflow_server.connect()
    return register.settle(client, registration.log_candidate(client, given), given, settings.register_, settings.seed)


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in paths.DECISIONS.read_text().splitlines()]


def kinds() -> list[tuple[str, str]]:
    return [(line["digest"], line["decision"]) for line in lines()]


def test_a_challenger_does_not_become_champion_because_mlflow_was_lost(
    settings: config.Config, lose_mlflow: Callable[[str], None]
) -> None:
    first, worse = candidate("first", scores(0.5)), candidate("worse", scores(0.2, seed=1))
    settle(settings, first)
    before = settle(settings, worse)
    assert before.endswith("tried before in this cohort: 1")
    assert kinds() == [("first", "champion"), ("worse", "challenger")]
    assert {frozenset(line) for line in lines()} == {frozenset(KEYS)}
    assert not [name for name in scores(1.0)["patient"] if f'"{name}"' in paths.DECISIONS.read_text()]
    written = paths.DECISIONS.read_bytes()
    lose_mlflow("second")
    assert settle(settings, worse) == "challenger: not promoted: the champion of data/decisions.jsonl is not in this MLflow"
    assert champion() == "none"
    assert settle(settings, first) == "champion: is the champion, and all floors are reached"
    assert champion() == "first"
    assert settle(settings, worse) == before  # it is held against the champion again, and was tried as often
    assert paths.DECISIONS.read_bytes() == written  # nothing of this was a decision


def test_what_a_person_decided_outlives_mlflow(settings: config.Config, lose_mlflow: Callable[[str], None]) -> None:
    poor = candidate("poor", scores(1.0), patient_sensitivity=0.4)
    first, better = candidate("first", scores(0.5)), candidate("better", scores(4.0, seed=1))
    for given in (first, better):
        settle(settings, given)
    promote.rollback("NPM1", "reads the clinic's slides worse")
    assert kinds()[2:] == [("better", "rolled back"), ("first", "champion again")]
    lose_mlflow("second")
    assert settle(settings, better) == (
        "challenger: was rolled back by hand (reads the clinic's slides worse); promote it by hand"
    )
    assert champion() == "none"
    settle(settings, first)
    settle(settings, poor)
    assert champion() == "first"
    promote.run("NPM1", "3", "the only one for children")
    assert champion() == "poor"
    lose_mlflow("third")
    settle(settings, better)
    settle(settings, first)
    assert champion() == "none"
    assert settle(settings, poor) == (
        "champion: is the champion, promoted by hand (the only one for children), although patient_sensitivity 0.400 is below "
        "the floor 0.500"
    )
    promote.rollback("NPM1", "it was not")
    assert champion() == "first"  # whom the file, and not this MLflow, knows to have been replaced


def test_a_rollback_to_one_that_mlflow_lost_says_so(settings: config.Config, lose_mlflow: Callable[[str], None]) -> None:
    better = candidate("better", scores(4.0, seed=1))
    settle(settings, candidate("first", scores(0.5)))
    settle(settings, better)
    lose_mlflow("second")
    settle(settings, better)
    with pytest.raises(ModelError, match="version 1 replaced one that MLflow does not have: published first "):
        promote.rollback("NPM1", "reads the clinic's slides worse")
    assert champion() == "better"


def test_what_brings_a_champion_back_can_stand_in_an_error(here: Path) -> None:
    """Which is on one line: line ends in it would be written out, and nobody could type that."""
    author = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (["init", "--quiet"], [*author, "commit", "--quiet", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *command], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    known = dict.fromkeys(KEYS, "x") | {"subtype": "NPM1", "decision": "champion", "time": "2026-01-01T00:00:00Z"}
    known |= {"tried_before": 0, "weights_sha256": {}, "results_md5": "", "commit": commit, "dirty": False}
    lost = decisions.Decision.model_validate(known)
    commands = bringing_back.commands(lost, commit)
    assert str(ModelError(bringing_back.named(lost, on_one_line=True))).endswith(f": {' && '.join(commands)}")
    assert bringing_back.named(lost).splitlines()[1:] == [f"    {command}" for command in commands]


def test_what_mlflow_held_before_there_was_a_file_is_written_down_once(
    settings: config.Config, capsys: pytest.CaptureFixture[str], lose_mlflow: Callable[[str], None]
) -> None:
    first, better, worse = (candidate(name, scores(far, seed=1)) for name, far in (("first", 0.5), ("better", 4.0), ("x", 0.2)))
    settle(settings, first)
    settle(settings, better)
    promote.rollback("NPM1", "reads the clinic's slides worse")
    paths.DECISIONS.unlink()
    for told in (1, 0):
        settle(settings, worse)
        said = capsys.readouterr().out
        assert said.count("NPM1 v1: is champion in MLflow; now data/decisions.jsonl says so too") == told
    assert kinds() == [("better", "rolled back"), ("first", "promoted by hand"), ("x", "challenger")]
    lose_mlflow("second")
    assert settle(settings, better).startswith("challenger: was rolled back by hand (reads the clinic's slides worse)")
    settle(settings, first)
    assert champion() == "first"


def test_an_older_mlflow_gives_way_to_the_file(settings: config.Config, lose_mlflow: Callable[[str], None]) -> None:
    """It was filled from a checkout that did not know the champion."""
    worse = candidate("worse", scores(0.2, seed=1))
    settle(settings, candidate("first", scores(0.5)))
    known = paths.DECISIONS.read_bytes()
    paths.DECISIONS.unlink()
    lose_mlflow("second")
    settle(settings, worse)
    assert champion() == "worse"
    paths.DECISIONS.write_bytes(known)
    assert settle(settings, worse).startswith("challenger: not promoted: the champion of data/decisions.jsonl")
    assert champion() == "none"


def test_the_champion_of_another_cohort_is_in_nobodys_way(settings: config.Config, lose_mlflow: Callable[[str], None]) -> None:
    settle(settings, candidate("theirs", scores(1.0), cohort="another"))
    lose_mlflow("second")
    assert settle(settings, candidate("ours", scores(1.0))) == "champion: no champion yet, and all floors are reached"


def decision(digest: str, time: str, kind: str = "champion") -> str:
    made = {"time": time, "subtype": "NPM1", "cohort": "drawn", "candidate": "published", "decision": kind, "reason": "drawn"}
    of = {"tried_before": 0, "digest": digest, "weights_sha256": {}, "patients_sha256": "", "results_md5": ""}
    return json.dumps(made | of | {"commit": "", "dirty": False, "replaced": None}) + "\n"


def test_of_two_branches_git_keeps_both_and_the_later_decision_counts(here: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments], cwd=here, check=True)

    def commit(*more: str) -> None:
        with paths.DECISIONS.open("a") as file:
            file.writelines(more)
        git("add", ".")
        git("commit", "--quiet", "-m", "decided")

    git("init", "--quiet", "--initial-branch=one")
    for name in (".gitattributes", ".gitignore"):
        shutil.copy(ROOT / name, here / name)
    paths.DECISIONS.parent.mkdir()
    both = decision("shared", "2026-01-02T00:00:00Z")
    commit(decision("oldest", "2026-01-01T00:00:00Z"))
    git("branch", "two")
    commit(decision("later", "2026-01-04T00:00:00Z"), both)
    git("checkout", "--quiet", "two")
    commit(both, decision("earlier", "2026-01-03T00:00:00+01:00"))
    git("merge", "--quiet", "-m", "both", "one")
    history = decisions.read("NPM1", "drawn")
    assert list(history.latest) == ["oldest", "shared", "earlier", "later"]
    assert history.champion is not None
    assert history.champion.digest == "later"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (decision("a", "2026-01-01T00:00:00Z") + decision("b", "2026-01-02T00:00:00Z")[:70], "line 2: is cut off"),
        (decision("a", "2026-01-01T00:00:00Z", kind="emperor"), "line 1: is no decision (decision: Input should be 'champion'"),
        ("<<<<<<< HEAD\n" + decision("a", "2026-01-01T00:00:00Z"), "line 1: is cut off, or no decision"),
    ],
)
def test_a_line_that_is_no_decision_is_named_and_never_left_out(settings: config.Config, text: str, said: str) -> None:
    paths.DECISIONS.parent.mkdir()
    paths.DECISIONS.write_text(text)
    with pytest.raises(ModelError) as refused:
        settle(settings, candidate("first", scores(0.5)))
    assert f"data/decisions.jsonl, {said}" in str(refused.value)
    assert r"\n" not in str(refused.value)
    assert champion() == "none"
    assert paths.DECISIONS.read_text() == text


def test_a_decision_after_a_last_line_without_an_end_stands_on_its_own(settings: config.Config) -> None:
    paths.DECISIONS.parent.mkdir()
    paths.DECISIONS.write_text(decision("a", "2026-01-01T00:00:00Z", kind="challenger").rstrip())
    settle(settings, candidate("first", scores(0.5)))
    assert kinds() == [("a", "challenger"), ("first", "champion")]


DVC_YAML = """
stages:
  results:
    cmd: "true"
    outs: [data/manifest.parquet, data/source.json, data/evaluated/NPM1/published.json, models{}]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose champion is committed, to git and to DVC's cache; in the workspace lies a challenger, and is not."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("project"))
    registered.build(folder)
    report = "reports/NPM1/published"
    results = "".join(f", {report}/{name}.csv" for name in ("by_class", "folds", "patients"))
    (folder / "dvc.yaml").write_text(DVC_YAML.format(results))
    call(folder, "dvc", "commit", "--force")
    call(folder, "git", "add", "--all")
    call(folder, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "champion")
    call(folder, "git", "rm", "--quiet", "--cached", "README.md")  # something else is on its way too
    for fold in registered.TEMPERATURES:
        weights = folder / "models/NPM1/published" / f"fold-{fold}"
        shutil.rmtree(weights)
        registered.train(weights, "NPM1", fold, seed=77 + fold)
    patients = pd.read_csv(folder / report / "patients.csv")
    (folder / report / "patients.csv").unlink()
    patients.assign(logit=[-2.0, 2.0]).to_csv(folder / report / "patients.csv", index=False)
    (folder / "data/evaluated/NPM1/published.json").unlink()
    registered.evaluated(folder, "NPM1")
    return folder


def names(folder: Path) -> dict[str, str]:
    """Alias -> the candidate that carries it; straight from the file, which is deleted in between."""
    query = (
        "SELECT alias, value FROM registered_model_aliases JOIN model_version_tags USING (name, version) "
        "WHERE name = 'NPM1' AND key = 'candidate'"
    )
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return dict(database.execute(query).fetchall())


@pytest.mark.rehearsal
def test_the_commands_that_are_said_bring_the_champion_back(project: Path) -> None:
    reigning = names(project)["champion"]
    said = call(project, "python", "-m", "pipeline", "register", "NPM1")
    assert "NPM1 v2: not comparable" in said
    assert 'to use v2 instead: `python -m pipeline promote NPM1 2 --because "..."`' in said
    assert names(project)["champion"] == reigning
    decided = (project / paths.DECISIONS).read_bytes()
    for path in [*project.glob("mlflow.db*"), project / "mlartifacts"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = call(project, "python", "-m", "pipeline", "register", "NPM1")
    assert "NPM1 v1: challenger: not promoted: the champion of data/decisions.jsonl is not in this MLflow" in said
    assert f"Commit {call(project, 'git', 'rev-parse', 'HEAD')[:12]} holds it" in said
    assert "data/decisions.jsonl: has decisions that are not committed" in said
    assert set(names(project)) == {"challenger"}
    before = call(project, "git", "status", "--porcelain"), (project / "dvc.lock").read_bytes()
    typed = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    last = call(project, "bash", "-ec", "\n".join(typed))
    assert names(project)["champion"] == reigning
    assert "NPM1 v1: not comparable" in last
    assert (call(project, "git", "status", "--porcelain"), (project / "dvc.lock").read_bytes()) == before
    assert (project / paths.DECISIONS).read_bytes() == decided
    assert len(call(project, "git", "worktree", "list").splitlines()) == 1
