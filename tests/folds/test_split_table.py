"""No patient is ever on two sides, and whoever has a fold keeps it, whatever the cohort, its history and the seed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.errors import DataError, LeakError
from pipeline.folds import dealer, ledger, split_table

CONTROL, A, B = "control", "A", "B"


def cohort(controls: int, others: int, third: int = 0) -> pd.DataFrame:
    who = [f"P{i:03}" for i in range(controls + others + third)]
    classes = [CONTROL] * controls + [A] * others + [B] * third
    return pd.DataFrame({"patient": who, "who": who, "class": classes, "set": range(len(who)), "images": range(len(who))})


def split(patients: pd.DataFrame, n_folds: int, seed: int, subtype: str = A) -> pd.DataFrame:
    folds = patients["who"].map(dealer.deal(patients, {}, n_folds, seed))
    return split_table.split(patients.assign(fold=folds), CONTROL, subtype, n_folds)


cohorts = st.integers(3, 8).flatmap(
    lambda n: st.tuples(st.integers(n, 70), st.integers(n, 40), st.just(n), st.integers(0, 2**31))
)


@given(cohorts)
def test_every_patient_is_tested_once_and_never_on_two_sides(case: tuple[int, int, int, int]) -> None:
    controls, others, n_folds, seed = case
    dealt = split(cohort(controls, others), n_folds, seed)
    assert sorted(dealt["patient"]) == sorted(cohort(controls, others)["patient"])
    tested: list[str] = []
    for k in range(n_folds):
        roles = split_table.roles(dealt, k, n_folds)
        assert not roles.index.duplicated().any()
        assert set(roles) == {"train", "val", "test"}
        for role in ("train", "val", "test"):  # both classes on every side
            assert set(dealt.set_index("patient")["label"][roles.index[roles == role]]) == {0, 1}
        tested += list(roles.index[roles == "test"])
    assert sorted(tested) == sorted(dealt["patient"])


def spread(patients: pd.DataFrame, folds: dict[str, int], n_folds: int) -> pd.Series:
    """Most minus fewest patients of a class in a fold."""
    counts = patients.assign(fold=patients["who"].map(folds)).groupby(["class", "fold"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=range(n_folds), fill_value=0)
    return counts.max(axis=1) - counts.min(axis=1)


@given(cohorts, st.integers(8, 30))
def test_folds_are_as_even_as_they_can_be(case: tuple[int, int, int, int], third: int) -> None:
    controls, others, n_folds, seed = case
    patients = cohort(controls, others, third)
    folds = dealer.deal(patients, {}, n_folds, seed)
    assert spread(patients, folds, n_folds).max() <= 1
    total = pd.Series(folds).value_counts()
    assert total.max() - total.min() <= 2  # of three classes


@given(cohorts, st.data())
def test_leaving_patients_out_and_adding_some_moves_nobody_else(case: tuple[int, int, int, int], data: st.DataObject) -> None:
    controls, others, n_folds, seed = case
    patients = cohort(controls + 6, others + 6, 12)
    before = dealer.deal(patients, {}, n_folds, seed)
    out = data.draw(st.sets(st.sampled_from(sorted(before)), max_size=5))
    stay = patients[~patients["who"].isin(out)]
    kept = stay.assign(fold=stay["who"].map(before))
    if (kept.groupby("class")["fold"].nunique() < n_folds).any():
        return  # a class lost a fold, so somebody has to move
    new = cohort(3, 3, 3).assign(who=[f"N{i}" for i in range(9)], set=range(900, 909))
    after = dealer.deal(pd.concat([stay, new.head(data.draw(st.integers(0, 9)))]), before, n_folds, seed)
    assert {who: after[who] for who in stay["who"]} == {who: before[who] for who in stay["who"]}
    again = dealer.deal(patients, {**before, **after}, n_folds, seed)
    assert again == before  # who was left out comes back to the same fold


@given(cohorts, st.integers(1, 40))
def test_new_patients_go_where_fewest_of_their_class_are(case: tuple[int, int, int, int], more: int) -> None:
    controls, others, n_folds, seed = case
    known = dealer.deal(cohort(controls, others), {}, n_folds, seed)
    new = cohort(0, more)
    patients = pd.concat([cohort(controls, others), new.assign(who="N" + new["who"], set=new["set"] + 900)])
    after = dealer.deal(patients, known, n_folds, seed)
    assert spread(patients, after, n_folds).max() <= 1


def test_a_patient_is_in_the_same_fold_for_every_subtype() -> None:
    patients = cohort(30, 12, 15)
    one, other = (split(patients, 5, 1, subtype).set_index("patient") for subtype in (A, B))
    pd.testing.assert_frame_equal(one[one["label"] == 0], other[other["label"] == 0])


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    patients = cohort(30, 12)
    dealt = dealer.deal(patients, {}, 5, 1)
    assert dealt == dealer.deal(patients.sample(frac=1, random_state=0), {}, 5, 1)
    assert dealt != dealer.deal(patients, {}, 5, 2)


def test_a_patient_in_two_classes_stops_the_run() -> None:
    patients = pd.concat([cohort(9, 9), cohort(9, 9).iloc[[1]].assign(**{"class": A})])
    with pytest.raises(LeakError, match="P001 is in two classes"):
        dealer.deal(patients, {}, 3, 0)
    with pytest.raises(LeakError, match="P001 is in two classes"):
        split_table.split(patients.assign(fold=0), CONTROL, A, 3)


def test_too_few_patients_are_named() -> None:
    with pytest.raises(DataError, match="4 patients of class A cannot fill 5 folds"):
        dealer.deal(cohort(9, 4), {}, 5, 0)


def test_a_class_that_lost_a_fold_gets_it_back_from_where_most_of_it_are() -> None:
    patients = cohort(6, 6)
    known = dict(zip(patients["who"], [0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1], strict=True))
    after = dealer.deal(patients, known, 3, 0)
    moved = [who for who in known if known[who] != after[who]]
    assert len(moved) == 1
    assert after[moved[0]] == 2
    with pytest.raises(DataError, match="fold 2 has no patient of class A; `python -m pipeline deal`"):
        split_table.split(patients.assign(fold=patients["who"].map(known)), CONTROL, A, 3)


def test_a_split_edited_by_hand_into_a_leak_stops_the_run() -> None:
    dealt = split(cohort(9, 9), 3, 0)
    edited = pd.concat([dealt, dealt.iloc[[0]].assign(fold=2)])
    with pytest.raises(LeakError, match="P000 stands in the split more than once"):
        split_table.roles(edited, 0, 3)


def test_the_same_picture_in_two_folds_stops_the_run() -> None:
    dealt = split(cohort(9, 9), 3, 0)
    one = dealt.loc[dealt["fold"] == 0, "patient"].iloc[0]
    other = dealt.loc[dealt["fold"] == 1, "patient"].iloc[0]
    images = pd.DataFrame({"path": ["a.tif", "b.tif"], "patient": [one, other], "pixels_sha256": ["x", "y"]})
    images["look_alike"] = ""
    split_table.require_no_shared_pictures(dealt, images)
    with pytest.raises(LeakError, match=r"b\.tif and a\.tif are the same picture in two folds"):
        split_table.require_no_shared_pictures(dealt, images.assign(pixels_sha256="x"))
    with pytest.raises(LeakError, match=r"b\.tif and a\.tif are nearly the same picture in two folds"):
        split_table.require_no_shared_pictures(dealt, images.assign(look_alike="a.tif"))


@given(cohorts, st.booleans(), st.data())
def test_patients_who_share_a_picture_share_a_fold_whatever_their_class(
    case: tuple[int, int, int, int], found_later: bool, data: st.DataObject
) -> None:
    controls, others, n_folds, seed = case
    patients = cohort(controls + 4, others + 4)
    known = dealer.deal(patients, {}, n_folds, seed) if found_later else {}
    linked = data.draw(st.lists(st.sampled_from(range(len(patients))), min_size=2, max_size=4, unique=True))
    patients.loc[linked, "set"] = linked[0]
    after = dealer.deal(patients, known, n_folds, seed)
    folds = patients.assign(fold=patients["who"].map(after))
    assert folds.loc[linked, "fold"].nunique() == 1
    assert (folds.groupby("class")["fold"].nunique() == n_folds).all()


def test_who_is_found_to_share_a_picture_goes_where_most_of_them_are_and_nobody_else_moves() -> None:
    patients = cohort(20, 20)
    known = dealer.deal(patients, {}, 4, 0)
    of_fold = {fold: [who for who in known if known[who] == fold] for fold in (1, 2)}
    together = [*of_fold[2][:2], of_fold[1][0]]
    patients.loc[patients["who"].isin(together), "set"] = 999
    after = dealer.deal(patients, known, 4, 0)
    assert {who: fold for who, fold in after.items() if fold != known[who]} == {together[2]: 2}


def test_too_many_linked_patients_are_named() -> None:
    patients = cohort(9, 9)
    patients.loc[patients["class"] == A, "set"] = 0
    with pytest.raises(DataError, match=r"1 patients of class A \(patients who share a picture count as one\)"):
        dealer.deal(patients, {}, 3, 0)


def test_a_ledger_is_read_as_it_was_written_and_two_branches_merge(here: Path) -> None:
    file = here / "folds.csv"
    assert ledger.n_folds(ledger.read(file)) == 0
    ledger.write_down(file, {"NA": 1, "007": 0, "Müller, A": 2})
    assert file.read_text() == 'patient,fold\n007,0\n"Müller, A",2\nNA,1\n'
    table = ledger.read(file, str.casefold)
    assert dict(zip(table["who"], table["fold"], strict=True)) == {"007": 0, "müller, a": 2, "na": 1}
    assert ledger.n_folds(table) == 3
    file.write_text("patient,fold\nAAA,1\naaa,1\n")
    assert len(ledger.read(file, str.casefold)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patient,fold\nAAA,1\naaa,2\n", "aaa is in folds 1 and 2; keep one"),
        ("patient,fold\nAAA,first\n", "not a table of patient and fold"),
        ("who,fold\nAAA,1\n", "not a table of patient and fold"),
        ("<<<<<<< HEAD\nAAA,1\n=======\n", "not a table of patient and fold"),
        ("patient,fold\nAAA,-1\n", "a fold below 0"),
    ],
)
def test_a_ledger_that_is_none_is_named(here: Path, text: str, expected: str) -> None:
    file = here / "folds.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"folds\.csv: .*{expected}"):
        ledger.read(file, str.casefold)
