"""A look as `predict` and `python -m pipeline drift` take it: patients as they are kept, windows, alarms, who counts once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.common import config, paths
from pipeline.common.errors import ConfigError, DataError
from pipeline.common.params_judging import Drift
from pipeline.drift import history, look, summaries
from pipeline.images import manifest

Params = Callable[[dict[str, Any]], config.Config]
NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)
RULES = Drift(window=24, fewest=8, looks_per_year=52, false_alarms_per_year=0.5, permutations=299)


def images(rng: np.random.Generator, count: int, stain: float = 0.0) -> pd.DataFrame:
    """Of one patient, who is unlike others by about as much as two images of one are."""
    patient = rng.normal(scale=8, size=len(manifest.NUMBERS))
    values = 120 + patient + rng.normal(scale=8, size=(count, len(manifest.NUMBERS)))
    table = pd.DataFrame(values, columns=list(manifest.NUMBERS))
    table["mean_r"] += stain
    return table.assign(pixels_sha256=[rng.bytes(8).hex() for _ in range(count)])


def cohort(rng: np.random.Generator, patients: int, stain: float = 0.0, count: int = 10) -> pd.DataFrame:
    return summaries.table([summaries.of_patient(images(rng, count, stain)) for _ in range(patients)])


def test_a_stain_that_shifts_is_an_alarm() -> None:
    rng = np.random.default_rng(1)
    seen = look.look(cohort(rng, 40), cohort(rng, 24, stain=16), RULES, 1)
    assert seen.alarm
    assert seen.in_words().startswith("24 new patients against 40 of training: drift, p 0.0")
    assert seen.in_words().endswith("farthest apart in colours")
    assert set(seen.not_seen) == {"vectors", "scores"}


def test_patients_of_the_same_source_are_an_alarm_no_more_often_than_is_said() -> None:
    often = RULES.model_copy(update={"false_alarms_per_year": 5.2})  # one look in ten
    rng = np.random.default_rng(2)
    everybody, alarms = cohort(rng, 110), []
    for number in range(80):
        drawn = everybody.sample(37, random_state=number)
        alarms.append(look.look(drawn.head(25), drawn.tail(12), often, number).alarm)
    assert 2 <= sum(alarms) <= 15  # of 80: 8 expected, 99.5 % of binomial draws lie between


def test_four_hundred_images_of_one_patient_are_one_witness() -> None:
    rng = np.random.default_rng(3)
    known = cohort(rng, 40)
    seen = look.look(known, cohort(rng, 1, count=400), RULES.model_copy(update={"fewest": 1}), 1)
    assert not seen.alarm
    assert seen.state == look.FEW  # no p can be below the level
    strange = look.look(known, cohort(rng, 1, stain=500, count=400), RULES.model_copy(update={"fewest": 1}), 1)
    assert not strange.alarm


def test_the_newest_count_and_the_older_do_not() -> None:
    rng = np.random.default_rng(4)
    known, shifted, same = cohort(rng, 40), cohort(rng, 24, stain=30), cohort(rng, 24)
    assert look.look(known, pd.concat([same, shifted], ignore_index=True), RULES, 1).alarm
    assert not look.look(known, pd.concat([shifted, same], ignore_index=True), RULES, 1).alarm


def test_too_few_are_not_compared_and_nobody_is_no_crash() -> None:
    rng = np.random.default_rng(5)
    known = cohort(rng, 40)
    assert look.look(known, cohort(rng, 7, stain=500), RULES, 1).state == look.FEW
    assert look.look(known, summaries.table([]), RULES, 1).state == look.FEW
    assert look.look(summaries.table([]), cohort(rng, 9), RULES, 1).state == look.NOBODY
    assert look.standing(known, summaries.table([]), RULES) == {}


def test_one_patient_of_a_known_class_among_many_of_others_is_too_few() -> None:
    rng = np.random.default_rng(9)
    known = cohort(rng, 120, count=2).assign(**{"class": "control"})
    new = pd.concat([cohort(rng, 1, stain=500, count=2).assign(**{"class": "control"}), cohort(rng, 20, count=2)])
    seen = look.look(known, new.assign(**{"class": ["control", *["never met"] * 20]}), RULES, 1)
    assert (seen.state, seen.new, seen.alarm) == (look.FEW, 1, False)


def test_who_is_scored_again_counts_once_and_a_new_name_hides_nobody(here: Path) -> None:
    rng = np.random.default_rng(6)
    first, second = (images(rng, 10) for _ in range(2))
    history.add([summaries.of_patient(first), summaries.of_patient(second)], "call a", NOW)
    more = pd.concat([first.iloc[1:], images(rng, 1)])  # the folder has another name, and a picture came and another went
    history.add([summaries.of_patient(more)], "call a", NOW + timedelta(days=3))
    kept = history.read()
    assert len(kept) == 2
    assert set(kept["seen"]) == {NOW.isoformat()}, "stays in its place among the newest"
    assert not any("patient" in column for column in kept)
    nobody = summaries.table([])
    assert len(history.of_model(kept, "call a", nobody)) == 2
    assert len(history.of_model(kept, "call b", nobody)) == 0, "another champion begins anew"
    known = summaries.table([summaries.of_patient(first)])
    assert len(history.of_model(kept, "call a", known)) == 1, "a patient of training is not new"


def test_a_patient_of_training_is_known_by_any_few_of_the_pictures(here: Path) -> None:
    """Of new patients a few keys are kept, by which they are told again when most of their pictures are there."""
    first = images(np.random.default_rng(7), 40)
    known, last = summaries.table([summaries.of_patient(first)]), first.sort_values("pixels_sha256").tail(3)
    history.add([summaries.of_patient(last)], "call a", NOW)
    assert len(history.of_model(history.read(), "call a", known)) == 0
    history.add([summaries.of_patient(first)], "call a", NOW)
    assert [len(keys.split()) for keys in history.read()["keys"]] == [4], "once"


def test_who_lies_in_two_folders_of_one_run_counts_once(here: Path) -> None:
    rng = np.random.default_rng(8)
    first, second = (images(rng, 10) for _ in range(2))
    rows = [summaries.of_patient(one) for one in (first, second, first)]
    history.add(rows, "call a", NOW)
    assert history.read()["keys"].tolist() == [summaries.few(str(rows[number]["keys"])) for number in (1, 0)]
    assert len(summaries.once(summaries.table([]))) == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [("keys", None), ("call", 7), ("images", "x"), ("mean_r", np.nan), ("vector", [np.inf]), ("vector", "1 2"), ("seen", True)],
)
def test_a_history_that_holds_something_else_is_named_with_its_column(here: Path, column: str, value: object) -> None:
    rng = np.random.default_rng(9)
    history.add([summaries.of_patient(images(rng, 3)) for _ in range(2)], "call a", NOW)
    kept = history.read()
    kept[column] = pd.Series([value] * 2, dtype=object)
    kept.to_parquet(paths.NEW_PATIENTS)
    with pytest.raises(
        DataError, match=rf"^predictions/new_patients.parquet: damaged \(its column {column} holds something else"
    ):
        history.read()


def test_a_damaged_history_is_named(here: Path) -> None:
    paths.PREDICTIONS.mkdir()
    paths.NEW_PATIENTS.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"^predictions/new_patients.parquet: damaged \(.*\); move it away"):
        history.read()
    whole = '{"of": "predicted", "counts": true, "time": "2026-11-27T08:00:00+00:00"}'
    naive = whole.replace("+00:00", "")
    for damaged in (
        "not JSON",
        "{}",
        "[1]",
        "3",
        naive,
        whole.replace("2026-11-27T08", "yesterday"),
        whole.replace("true", "1"),
        "\xff",
        "[" * 9000,
        whole[:-1] + ', "p": NaN}',
    ):
        paths.LOOKS.write_text(f"{whole}\n{damaged}\n", encoding="latin-1")
        with pytest.raises(DataError, match=r"^predictions/looks.jsonl line 2: no look; remove the line"):
            history.looks()


def test_settings_that_could_never_alarm_are_refused(params: Params) -> None:
    assert look.level(params({}).drift) == pytest.approx(0.5 / 52)
    with pytest.raises(ConfigError, match=r"drift.permutations: so few give no p below 0.00962; at least 105"):
        params({"drift.permutations": 100})
    with pytest.raises(ConfigError, match=r"drift.fewest: 30 is above window \(24\)"):
        params({"drift.fewest": 30})
