"""`python -m pipeline drift` with a real MLflow: an alarm a week at most, a run a look, and what to do where nobody can be
compared with.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from candidates import candidate
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from scores import scores

from pipeline.common import config, paths
from pipeline.common.errors import ModelError
from pipeline.drift import history, known_patients, look, summaries
from pipeline.images import manifest
from pipeline.registry import drift_runs, mlflow_server, registration, versions
from pipeline.registry.champions import Champion
from pipeline.scoring import new_patients
from pipeline.stages import drift, register

ENCODER = "efficientnet_lite0"  # one of params.yaml's
Params = Callable[[dict[str, Any]], config.Config]


def patients(rng: np.random.Generator, count: int, stain: float = 0.0) -> pd.DataFrame:
    rows = []
    for _ in range(count):
        images = pd.DataFrame(rng.normal(120, 5, (5, len(manifest.NUMBERS))), columns=list(manifest.NUMBERS))
        images["mean_r"] += stain + rng.normal(scale=5)
        rows.append(summaries.of_patient(images.assign(pixels_sha256=[rng.bytes(8).hex() for _ in range(5)])))
    return summaries.table(rows)


def test_of_new_patients_nobody_is_kept_who_has_a_picture_of_the_training(params: Params, here: Path) -> None:
    """However many others there are: of the few that are kept it need not be one."""
    rows = delivered(np.random.default_rng(3), 20, 0)
    known, *others = (own for _, own in rows.groupby("patient"))
    cohort = summaries.table([summaries.of_patient(known)])
    seen = new_patients.Seen(Champion("call", "1", {}, None, pd.DataFrame(), cohort, "call a"))
    mixed = pd.concat([known.sort_values("pixels_sha256").tail(1), *others[:9]])
    seen.tell("a name", mixed, {}, [])
    seen.keep()
    assert history.read().empty
    watched = seen.look(params({}), aside=False)
    assert watched is not None
    assert watched.look.new == 0
    seen.tell("another", others[10], {}, [])
    seen.keep()
    assert len(history.read()) == 1


def delivered(rng: np.random.Generator, count: int, first: int, stain: float = 0.0) -> pd.DataFrame:
    """A manifest's rows of so many patients of either class, of five images each."""
    names = [(name, f"{name}{number:02}") for name in ("control", "NPM1") for number in range(first, first + count)]
    rows = pd.DataFrame([one for one in names for _ in range(5)], columns=["class", "patient"])
    numbers = rng.normal(120, 5, (len(rows), len(manifest.NUMBERS)))
    rows[list(manifest.NUMBERS)] = numbers
    rows["mean_r"] += stain + np.repeat(rng.normal(scale=5, size=len(names)), 5)
    return rows.assign(pixels_sha256=[rng.bytes(8).hex() for _ in range(len(rows))], error="")


def embedded(rows: pd.DataFrame, rng: np.random.Generator, digest: str) -> None:
    """Vectors of these images, as `embed` leaves them."""
    for name, own in rows.groupby("class"):
        paths.vectors(ENCODER, str(name)).parent.mkdir(parents=True, exist_ok=True)
        np.save(paths.vectors(ENCODER, str(name)), rng.normal(size=(len(own), 4)).astype(np.float32))
        own[["patient"]].to_parquet(paths.vector_rows(ENCODER, str(name)), index=False)
    paths.encoder(ENCODER).write_text(json.dumps({"digest": digest}))


def test_those_of_a_delivery_whom_the_champion_was_not_registered_with_are_looked_at(params: Params, here: Path) -> None:
    """By class; by vectors if they are of the encoder by which the champion answers, and not of its namesake."""
    settings, rng = params({"subtypes": ["NPM1"], "drift.permutations": 999}), np.random.default_rng(2)
    first = delivered(rng, 15, 0)
    (here / "data").mkdir(exist_ok=True)
    first.to_parquet(paths.MANIFEST, index=False)
    embedded(first, rng, "the one")
    known = known_patients.of_cohort(settings, ENCODER)
    tags = {versions.ENCODER: ENCODER, versions.ENCODER_DIGEST: "the one"}
    model = ModelVersion("call", "1", 0, tags=[ModelVersionTag(key, value) for key, value in tags.items()])

    def seen() -> look.Look:
        return look.look(known, drift._delivered(settings, model, known), settings.drift, settings.seed)

    assert seen().new == 0
    everybody = pd.concat([first, delivered(rng, 6, 15, stain=80)], ignore_index=True)
    everybody.to_parquet(paths.MANIFEST, index=False)
    assert seen().found
    assert "vectors" in seen().not_seen, "not everybody has any yet"
    embedded(everybody, rng, "the one")
    found = seen()
    assert (found.within, found.new, found.known, found.alarm) == ("class", 12, 30, True)
    assert found.found is not None
    assert found.found.views["colours"].p_of_all < 0.01 < found.found.views["vectors"].p_value
    embedded(everybody, rng, "another of that name")
    assert "vectors" in seen().not_seen


def test_a_look_is_told_to_mlflow_and_counts_once_a_week(
    params: Params, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    settings, rng = params({"register.gate.draws": 200, "drift.permutations": 299}), np.random.default_rng(1)
    with pytest.raises(ModelError, match=r"there is no champion at .*; run `python -m pipeline register`"):
        drift.run(settings, False, None)
    client, known = mlflow_server.connect(), patients(rng, 40)

    def settle(given: registration.Candidate) -> versions.Version:
        model = registration.log_candidate(client, given)
        register.settle(client, model, given, settings.register_, settings.seed)
        return model

    first = candidate("first", scores(0.5))
    settle(first)
    with pytest.raises(ModelError, match=r"NPM1 v1: .* kept nothing .* `python -m pipeline register NPM1`"):
        drift.run(settings, False, None)
    model = settle(replace(first, patients=known))  # registered again, it is the same version, and can be compared with
    assert int(model.version) == 1
    assert drift.run(settings, False, None) == 0
    assert history.looks()[-1]["state"] == "too few patients"
    said = capsys.readouterr().out
    assert "8 new ones are needed" in said
    assert "mix of classes" not in said, "there is none of nobody"

    rows = patients(rng, 24, stain=20).to_dict("records")
    history.add([{str(key): value for key, value in row.items()} for row in rows], versions.identity(model), datetime.now(UTC))
    assert drift.run(settings, False, Path("look.json")) == drift.ALARM
    told_of = json.loads(Path("look.json").read_text())
    assert (told_of["alarm"], told_of["counts"], told_of["of"], told_of["new"]) == (True, True, "predicted", 24)
    assert drift.run(settings, False, None) == 0, "the next look of the same week is none"
    assert "no alarm: 52 looks a year count (drift.looks_per_year), and the last that did is of 2" in capsys.readouterr().out
    lines = [json.loads(line) for line in paths.LOOKS.read_text().splitlines()]
    assert [line["alarm"] for line in lines] == [False, True, False]

    settings_of_both = params({"subtypes": ["CBFB_MYH11", "NPM1"]})
    other = replace(candidate("other", scores(0.5)), subtype="CBFB_MYH11", patients=known.tail(9))
    settle(other)
    for last, name in ((versions.identity(model), "NPM1"), ("", "CBFB_MYH11"), ("of a champion that was", "CBFB_MYH11")):
        watched = drift_runs.watched(client, settings_of_both.subtypes, last)
        assert watched is not None
        assert watched[0].name == name, "who scored the newest is who judges them"
    assert len(watched[1]) == 9

    (kept,) = here.glob("mlartifacts/CBFB_MYH11/**/training_patients.parquet")
    sound = kept.read_bytes()
    for content in (sound[:90], known.assign(vector="x").to_parquet()):
        kept.write_bytes(content)
        with pytest.raises(
            ModelError,
            match=r"CBFB_MYH11 v1: training_patients.parquet in MLflow is damaged .* pipeline register CBFB_MYH11` where it",
        ):
            drift_runs.watched(client, ["CBFB_MYH11"], "")
    (kept,) = here.glob("mlartifacts/CBFB_MYH11/**/out_of_fold.csv")
    kept.write_text("patient,fold,label,logit\na,0,1,\n")
    with pytest.raises(ModelError, match=r"out_of_fold.csv in MLflow is damaged \(a score is no number\)"):
        versions.scores(client, client.get_model_version("CBFB_MYH11", "1"))

    experiment = client.get_experiment_by_name(drift_runs.EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    assert len(runs) == 3
    told = {run.info.run_id: run.data for run in runs}[lines[1]["run"]]
    assert told.metrics["alarm"] == 1
    assert told.metrics["p"] == told_of["p"] < told.metrics["level"]
    assert {"p_colours", "p_sharpness", "distance_colours"} <= set(told.metrics)
    assert told.tags["model"] == "NPM1 v1"

    paths.LOOKS.unlink()
    read, both = history.looks, threading.Barrier(2)

    def together() -> list[dict[str, Any]]:
        found = read()
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # for the other's look, where nothing keeps it waiting
        return found

    monkeypatch.setattr(history, "looks", together)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda _: drift.run(settings, False, None), range(2))) == [0, drift.ALARM]
    assert [line["counts"] for line in read()] == [True, False]
