"""Who has a fold keeps it: `deal` and `split` on a manifest that changes, as a user's does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.common import config
from pipeline.common.errors import DataError
from pipeline.stages import deal, split

Settings = Callable[[dict[str, Any]], config.Config]
NETWORK = {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}
SUBTYPES = ["NPM1", "PML_RARA"]
USUAL = {"subtypes": SUBTYPES, "candidates.published.networks": dict.fromkeys(SUBTYPES, NETWORK), "split.n_folds": 3}
PATIENTS = {name: [f"{name[0]}{number:02}" for number in range(10)] for name in ("control", *SUBTYPES)}


@pytest.fixture(autouse=True)
def _here(here: Path) -> None:
    (here / "data").mkdir()


def manifest(patients: dict[str, list[str]], alike: tuple[str, ...] = ()) -> None:
    """One image a patient; those of `alike` look the same."""
    rows = [
        (f"{name}/{who}/image_1.tif", name, who, who, "picture" if who in alike else "", "")
        for name, own in patients.items()
        for who in own
    ]
    columns = ["path", "class", "patient", "pixels_sha256", "look_alike", "error"]
    pd.DataFrame(rows, columns=columns).to_parquet("data/manifest.parquet")


def folds(settings: config.Config) -> dict[str, int]:
    """After both stages: every patient's fold, which is the same for all subtypes."""
    deal.run(settings)
    split.run(settings)
    tables = [pd.read_csv(f"data/splits/{name}.csv", dtype={"patient": "str"}).set_index("patient") for name in SUBTYPES]
    found: dict[str, int] = {}
    for table in tables:
        for who, fold in table["fold"].items():
            assert found.setdefault(str(who), fold) == fold
    return found


def test_one_left_out_and_new_ones_move_nobody(params: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings = params(USUAL)
    manifest(PATIENTS)
    before = folds(settings)
    assert "30 patients in 3 folds, 30 of them new" in capsys.readouterr().out
    fewer = {**PATIENTS, "NPM1": [*PATIENTS["NPM1"][1:], "NEW1", "NEW2"]}
    manifest(fewer)
    after = folds(settings)
    assert {who: fold for who, fold in after.items() if who in before} == {w: f for w, f in before.items() if w != "N00"}
    assert "2 of them new" in capsys.readouterr().out
    manifest(PATIENTS)
    assert folds(settings) == before
    said = capsys.readouterr()
    assert "0 of them new" in said.out
    assert not said.err


@pytest.mark.parametrize("who", ["\rN00", "N\x1e", " ", ""])
def test_a_manifest_with_a_name_that_no_folder_may_have_is_refused(params: Settings, who: str) -> None:
    manifest({**PATIENTS, "NPM1": [who, *PATIENTS["NPM1"]]})
    with pytest.raises(
        DataError, match=r"manifest\.parquet: damaged \(a patient is called .*run `dvc checkout --force data/mani"
    ):
        deal.run(params(USUAL))
    assert not Path("data/folds.csv").exists()


def test_where_nobody_can_be_dealt_no_ledger_is_written(params: Settings) -> None:
    manifest({"another": ["A", "B"]})
    with pytest.raises(
        DataError, match=r"no usable image of a class of params\.yaml; reports/validation/quarantine\.csv says why"
    ):
        deal.run(params(USUAL))
    assert not Path("data/folds.csv").exists()


def test_another_spelling_is_the_same_patient(params: Settings) -> None:
    manifest(PATIENTS)
    before = folds(params(USUAL))
    manifest({**PATIENTS, "NPM1": [name.lower() for name in PATIENTS["NPM1"]]})
    after = folds(params(USUAL))
    assert {who.upper() if who[0] == "n" else who: fold for who, fold in after.items()} == before
    assert "N00," in Path("data/folds.csv").read_text()


def test_a_class_that_is_renamed_moves_nobody(params: Settings) -> None:
    manifest(PATIENTS)
    before = folds(params(USUAL))
    manifest({**{name: PATIENTS[name] for name in SUBTYPES}, "normal": PATIENTS["control"]})
    assert folds(params({**USUAL, "control": "normal", "ingest.source": "folder"})) == before


def test_look_alikes_found_later_are_moved_together_and_it_is_said(
    params: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest(PATIENTS)
    before = folds(params(USUAL))
    other = next(who for who in PATIENTS["NPM1"] if before[who] != before["N00"])
    manifest(PATIENTS, alike=("N00", other))
    after = folds(params(USUAL))
    assert after["N00"] == after[other]
    (moved,) = [who for who in before if before[who] != after[who]]
    assert moved in ("N00", other)
    said = capsys.readouterr()
    assert f"in one fold, because they share a picture: {', '.join(sorted(['N00', other]))}" in said.out
    assert "1 of 30 patients were moved to another fold" in said.err
    assert "not comparable" in said.err


def test_another_number_of_folds_deals_anew_and_it_is_said(params: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(PATIENTS)
    folds(params(USUAL))
    five = params({**USUAL, "split.n_folds": 5})
    with pytest.raises(DataError, match=r"has 3 folds, split\.n_folds is 5; `python -m pipeline deal` deals anew"):
        split.run(five)
    assert set(folds(five).values()) == set(range(5))
    assert "because split.n_folds is 5 and was 3: figures of before and after are not comparable" in capsys.readouterr().err


def test_a_patient_without_a_fold_is_named_and_the_ledger_of_another_cohort_is_begun_anew(
    params: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest(PATIENTS)
    folds(params(USUAL))
    manifest({**PATIENTS, "NPM1": [*PATIENTS["NPM1"], "NEW"]})
    with pytest.raises(DataError, match=r"folds\.csv: .*NEW.*`python -m pipeline deal` deals them"):
        split.run(params(USUAL))
    manifest({name: [f"X{who}" for who in own] for name, own in PATIENTS.items()})
    assert len(folds(params(USUAL))) == 30
    assert "another cohort" in capsys.readouterr().out
    assert "N00" not in Path("data/folds.csv").read_text().splitlines()
    assert len(Path("data/folds.csv").read_text().splitlines()) == 31
