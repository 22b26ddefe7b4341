"""Champions come and go in a real MLflow, on sqlite and on PostgreSQL: by the gate, by hand, and all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from candidates import candidate, champion, race
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from processes import Postgres
from scores import scores

from pipeline.common import config, files, paths
from pipeline.common.errors import ConfigError, ModelError, TrackingError
from pipeline.registry import gate, locks, mlflow_address, mlflow_server, registration, verdicts_page, versions
from pipeline.stages import promote, register

Params = Callable[[dict[str, Any]], config.Config]
COHORT = "St. John's 2026"  # a quote ends a word of MLflow's searches


@pytest.fixture
def settings(params: Params, here: Path, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    return params({"register.gate.draws": 200})


def settle(settings: config.Config, given: registration.Candidate) -> str:
    client = mlflow_server.connect()
    return register.settle(client, registration.log_candidate(client, given), given, settings.register_, settings.seed)


def tags(version: str) -> dict[str, str]:
    found = versions.version(mlflow_server.connect(), "NPM1", version)
    assert found is not None
    return dict(found.tags)


def test_the_gate_promotes_the_better_and_every_verdict_is_written_down(settings: config.Config) -> None:
    poor = candidate("poor", scores(1.0), COHORT, patient_sensitivity=0.4)
    assert settle(settings, poor).startswith("challenger: patient_sensitivity 0.400 is below the floor 0.500")
    assert champion() == "none"
    first = candidate("first", scores(0.5), COHORT)
    assert settle(settings, first) == "champion: no champion yet, and all floors are reached"
    assert settle(settings, first) == "champion: is the champion, and all floors are reached"
    rules = settings.register_.gate.model_copy(update={"fewest_patients": 1000})
    demanding = settings.model_copy(update={"register_": settings.register_.model_copy(update={"gate": rules})})
    assert re.search(r"all floors are reached, but only \d+ controls and \d+ patients of the subtype", settle(demanding, first))
    worse = settle(settings, candidate("worse", scores(0.2, seed=1), COHORT))
    assert worse.startswith("challenger: patient AUROC 0.")
    assert worse.endswith("tried before in this cohort: 2")
    assert champion() == "first"
    better = settle(settings, candidate("better", scores(4.0, seed=1), COHORT))
    assert better.startswith("champion: patient AUROC ")
    assert better.endswith("tried before in this cohort: 3 (chosen among 4, its own figures flatter it)")
    assert champion() == "better"
    client = mlflow_server.connect()
    aliases = [versions.aliases(client, model) for model in versions.versions(client, "NPM1")]
    assert aliases == [[], [], ["challenger"], ["champion"]]
    assert tags("4")["replaced"] == "2"
    run = client.get_run(versions.versions(client, "NPM1")[2].run_id).info.run_name
    assert "settings and data as champion v2, folds 0" in run, "whoever reads the list knows what it is like"
    assert tags("4")["verdict"] == better
    written = client.download_artifacts(str(versions.versions(client, "NPM1")[3].run_id), "verdict.json", "models")
    verdict = json.loads(Path(written).read_text())
    assert (verdict["verdict"], verdict["against"], verdict["tried_before"]) == (better, "2", 3)
    allowed = gate.level(verdict["rules"]["gate"]["max_false_promotions"], 2)  # the first champion was held against nobody
    assert verdict["figures"]["chance"] <= verdict["figures"]["allowed"] == allowed


def test_by_hand_a_model_is_promoted_and_rolled_back_and_stays_back(
    settings: config.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    better = candidate("better", scores(4.0, seed=1))
    settle(settings, candidate("first", scores(0.5)))
    settle(settings, better)
    for blank in ("", " \n"):
        with pytest.raises(ConfigError, match="--because: is blank"):
            promote.rollback("NPM1", blank)
        with pytest.raises(ConfigError, match="--because: is blank"):
            promote.run("NPM1", "1", blank)
    assert champion() == "better", "what was done without a reason the next register would undo"
    promote.rollback("NPM1", "reads the clinic's slides worse")
    assert champion() == "first"
    said = (
        "NPM1: version 1 is champion instead of version 2; rolled back by hand from version 2: reads the clinic's slides worse"
    )
    assert said in capsys.readouterr().out
    assert "reads the clinic's slides worse" in tags("1")["verdict"]
    assert (
        settle(settings, better) == "challenger: was rolled back by hand (reads the clinic's slides worse); promote it by hand"
    )
    assert champion() == "first"
    promote.run("NPM1", "2", "the slides were at fault")
    assert champion() == "better"
    for version, line in (("2", "version 2 is the champion already"), ("9", "no version 9; there are: 1, 2")):
        with pytest.raises(ModelError, match=line):
            promote.run("NPM1", version, "why not")
    promote.rollback("NPM1", "after all")
    assert champion() == "first"


def test_of_two_versions_of_one_candidate_one_is_used(settings: config.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines register it at the same moment, or MLflow's client says it again since an answer was lost."""
    first, create = candidate("first", scores(0.5)), MlflowClient.create_model_version
    deleted = list[str]()
    with monkeypatch.context() as both:

        def twice(self: MlflowClient, *told: Any, **named: Any) -> versions.Version:
            if not deleted:  # the other machine took the model for what somebody had left who was killed
                deleted.append(named["model_id"])
                self.delete_logged_model(named["model_id"])
            create(self, *told, **named)
            return create(self, *told, **named)

        both.setattr(MlflowClient, "create_model_version", twice)
        assert settle(settings, first).startswith("champion")
    client = mlflow_server.connect()
    assert client.get_model_version("NPM1", "1").aliases == ["champion"]
    assert client.get_model_version("NPM1", "1").model_id not in deleted
    assert tags("2") == tags("1")  # goes on as it
    another = create(client, "NPM1", "elsewhere", tags={"candidate": "first"})  # the last that was written on
    assert settle(settings, first) == "champion: is the champion, and all floors are reached"
    client.set_registered_model_alias("NPM1", "champion", another.version)
    found = versions.find(client, "NPM1", "first")
    assert found is not None
    assert found.version == another.version


def test_no_version_is_made_while_somebody_looks_which_models_have_none(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = list[str]()

    def watched(name: str) -> None:
        asked = getattr(MlflowClient, name)

        def seen(self: MlflowClient, *told: Any, **named: Any) -> Any:
            lock, *_ = locks.lock_files(mlflow_address.address(), Path("mlflow.db"))
            with pytest.raises(Timeout), FileLock(lock, timeout=0):
                pass
            alone.append(name)
            return asked(self, *told, **named)

        monkeypatch.setattr(MlflowClient, name, seen)

    def cut_off(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    left = candidate("first", scores(0.5))
    with monkeypatch.context() as cut:
        cut.setattr(MlflowClient, "create_model_version", cut_off)
        with pytest.raises(KeyboardInterrupt):
            settle(settings, left)
    for name in (kinds := ("search_logged_models", "delete_logged_model", "create_model_version")):
        watched(name)
    settle(settings, left)
    assert set(alone) == set(kinds)


def test_the_verdict_page_speaks_of_the_results_that_lie_here_and_of_no_others(settings: config.Config) -> None:
    def given(name: str, mean: float) -> registration.Candidate:
        file = paths.evaluated("NPM1", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        return replace(candidate(name, scores(mean)), results_md5=files.md5(file))

    def page() -> str:
        verdicts_page.write(mlflow_server.connect(), "NPM1")
        return " ".join(re.sub(r"<[^>]+>", " ", paths.verdicts("NPM1").read_text().split("<body>")[1]).split())

    first, worse = given("<b>first", 1.0), given("worse", 0.2)
    assert page() == "Gate: no verdict on these results ( register )"
    settle(settings, first)
    settle(settings, worse)
    assert "Gate: ★ champion v1 ( why ), no commit" in page()
    assert "Gate: challenger v2 ( why ), no commit" in page()
    assert "Verdict challenger: patient AUROC 0." in page()
    written = paths.verdicts("NPM1").read_text()
    assert all(f'<i id="{given.results_md5}"></i>\n<p>Gate' in written for given in (first, worse)), "the mark takes no place"
    assert "<b>" not in written
    promote.run("NPM1", "2", "a person wanted it")
    assert "Gate: was champion v1 ( why ), no commit" in page()
    assert "Gate: ★ champion v2 ( why ), no commit" in page()
    assert "Verdict promoted by hand: a person wanted it" in page()
    promote.rollback("NPM1", "it reads slides worse")
    assert "Gate: ★ champion v1 ( why ), no commit" in page()
    assert "Gate: rolled back v2 ( why ), no commit" in page()
    assert "Rolled back by hand it reads slides worse" in page()
    paths.evaluated("NPM1", "<b>first").write_text("measured anew")
    assert "★" not in page()  # these results nobody judged


def test_what_a_person_decided_stays_through_registrations_and_a_second_rollback_goes_further_back(
    settings: config.Config,
) -> None:
    poor = candidate("poor", scores(1.0), patient_sensitivity=0.4)
    settle(settings, poor)
    settle(settings, poor)  # the same verdict is written down once
    settle(settings, candidate("first", scores(0.5)))
    better, client = candidate("better", scores(4.0, seed=1)), mlflow_server.connect()
    settle(settings, better)
    waiting = registration.log_candidate(client, better)
    promote.rollback("NPM1", "reads the clinic's slides worse")
    assert champion() == "first"
    said = register.settle(client, waiting, better, settings.register_, settings.seed)
    assert said.startswith("challenger: was rolled back by hand")  # although it was read before
    with pytest.raises(ModelError, match="version 2 replaced no other; name one"):
        promote.rollback("NPM1", "once more")  # and not forward to the one that was rolled back
    promote.run("NPM1", "1", "the only one for children")
    assert settle(settings, poor) == (
        "champion: is the champion, promoted by hand (the only one for children), although patient_sensitivity 0.400 is below "
        "the floor 0.500"
    )
    assert champion() == "poor"
    assert tags("1")["verdict"].startswith("promoted by hand: the only one for children (")
    assert "the only one for children" in str(client.get_model_version("NPM1", "1").description)
    decided = [line.partition(":")[0] for key, line in sorted(tags("1").items()) if key.startswith("decided.")]
    assert decided == ["challenger", "promoted by hand"]
    promote.rollback("NPM1", "it was not")
    assert champion() == "first"


def test_a_champion_that_no_longer_reaches_the_floors_is_none(settings: config.Config, params: Params) -> None:
    first = candidate("first", scores(0.5))
    settle(settings, first)
    raised = params({"register.floors.cnn.image_accuracy": 0.95})
    assert settle(raised, first) == "challenger: image_accuracy 0.900 is below the floor 0.950"
    assert champion() == "none"


def test_one_server_on_this_machine_has_one_lock_however_its_address_is_written() -> None:
    here = Path("mlflow.db")
    files = [
        locks.lock_files(address, here) for address in ("http://127.0.0.1:5000", "http://localhost:5000/", "http://[::1]:5000")
    ]
    assert files[0] == files[1] == files[2]
    assert set(locks.lock_files("sqlite:///mlflow.db", here)) < set(files[0])  # whose database it may serve
    assert locks.lock_files("http://mlflow.example:5000", here) == []
    for nowhere in ("http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1"):
        with pytest.raises(ConfigError, match="is no address"):
            locks.lock_files(nowhere, here)
    with pytest.raises(ConfigError, match=r"//\*\*\*@host is no address") as refused:
        locks.lock_files("http://me:pa/55@host", here)
    assert "pa" not in str(refused.value).replace("password", "")
    for nowhere in ("postgresql", "postgresql://127.0.0.1:x/x"):
        with pytest.raises(ConfigError, match="is no address"), locks.deciding(nowhere, here):
            pass
    for driver in ("psycopg", "nothing"):  # one that is not installed, and one that is none
        unknown, said = f"postgresql+{driver}://me@127.0.0.1:1/x", r"is no address \(.*\); write postgresql\+psycopg2://"
        with pytest.raises(ConfigError, match=said), locks.deciding(unknown, here):
            pass


def test_nobody_is_promoted_where_others_may_decide_at_the_same_time(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_LOCK", "http://mlflow.example:5000")  # as an MLflow server on another machine
    assert "not promoted: other machines may decide" in settle(settings, candidate("first", scores(0.5)))
    assert champion() == "none"
    with pytest.raises(ConfigError, match="let REGISTRY_LOCK name a PostgreSQL database"):
        promote.run("NPM1", "1", "why not")
    monkeypatch.setenv("REGISTRY_LOCK", "postgresql+psycopg2://mlflow:pa55@127.0.0.1:1/mlflow")
    with pytest.raises(TrackingError, match=r"//\*\*\*@127.0.0.1:1/mlflow: the lock .* cannot be taken") as refused:
        promote.run("NPM1", "1", "why not")
    assert "pa55" not in str(refused.value)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, here: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{here}/mlflow.db"
        return
    if Postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`")
    with Postgres() as server:
        yield server.uri


@pytest.mark.rehearsal
def test_of_candidates_that_all_come_at_once_the_gate_makes_one_champion(
    settings: config.Config, database: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the one that it would have made of them one after the other."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    race(settings, here, 3)
