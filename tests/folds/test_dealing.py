"""No patient and no picture is ever on both sides, whatever the cohort and the seed."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.errors import DataError, LeakError
from pipeline.folds import dealing


def cohort(controls: int, others: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient": [f"P{i:03}" for i in range(controls + others)],
            "label": [0] * controls + [1] * others,
            "images": range(controls + others),
            "set": range(controls + others),
        }
    )


cohorts = st.integers(3, 8).flatmap(
    lambda n: st.tuples(st.integers(n, 70), st.integers(n, 40), st.just(n), st.integers(0, 2**31))
)


@given(cohorts)
def test_every_patient_is_tested_once_and_never_on_two_sides(case: tuple[int, int, int, int]) -> None:
    controls, others, n_folds, seed = case
    split = dealing.deal(cohort(controls, others), n_folds, seed)
    assert sorted(split["patient"]) == sorted(cohort(controls, others)["patient"])
    tested: list[str] = []
    for k in range(n_folds):
        roles = dealing.roles(split, k, n_folds)
        assert not roles.index.duplicated().any()
        assert set(roles) == {"train", "val", "test"}
        for role in ("train", "val", "test"):  # both classes on every side
            assert set(split.set_index("patient")["label"][roles.index[roles == role]]) == {0, 1}
        tested += list(roles.index[roles == "test"])
    assert sorted(tested) == sorted(split["patient"])


@given(cohorts)
def test_folds_are_as_even_as_they_can_be(case: tuple[int, int, int, int]) -> None:
    controls, others, n_folds, seed = case
    split = dealing.deal(cohort(controls, others), n_folds, seed)
    counts = split.groupby(["label", "fold"]).size().unstack()
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


@given(cohorts, st.integers(5, 30))
def test_controls_are_dealt_alike_for_every_subtype(case: tuple[int, int, int, int], more: int) -> None:
    controls, others, n_folds, seed = case
    one, two = (dealing.deal(cohort(controls, n), n_folds, seed) for n in (others, others + more))
    pd.testing.assert_frame_equal(one[one["label"] == 0], two[two["label"] == 0])


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    patients = cohort(30, 12)
    split = dealing.deal(patients, 5, 1)
    pd.testing.assert_frame_equal(split, dealing.deal(patients.sample(frac=1, random_state=0), 5, 1))
    assert not split["fold"].equals(dealing.deal(patients, 5, 2)["fold"])


def test_a_patient_in_two_classes_stops_the_run() -> None:
    patients = pd.concat([cohort(9, 9), pd.DataFrame({"patient": ["P001"], "label": [1], "images": [4], "set": [1]})])
    with pytest.raises(LeakError, match="P001 is in two classes"):
        dealing.deal(patients, 3, 0)


def test_too_few_patients_are_named() -> None:
    with pytest.raises(DataError, match="4 patients of the subtype class cannot fill 5 folds"):
        dealing.deal(cohort(9, 4), 5, 0)


def test_a_split_edited_by_hand_into_a_leak_stops_the_run() -> None:
    split = dealing.deal(cohort(9, 9), 3, 0)
    edited = pd.concat([split, split.iloc[[0]].assign(fold=2)])
    with pytest.raises(LeakError, match="P000 stands in the split more than once"):
        dealing.roles(edited, 0, 3)


def test_the_same_picture_in_two_folds_stops_the_run() -> None:
    split = dealing.deal(cohort(9, 9), 3, 0)
    one = split.loc[split["fold"] == 0, "patient"].iloc[0]
    other = split.loc[split["fold"] == 1, "patient"].iloc[0]
    images = pd.DataFrame({"path": ["a.tif", "b.tif"], "patient": [one, other], "pixels_sha256": ["x", "y"]})
    images["look_alike"] = ""
    dealing.require_no_shared_pictures(split, images)
    with pytest.raises(LeakError, match=r"b\.tif and a\.tif are the same picture in two folds"):
        dealing.require_no_shared_pictures(split, images.assign(pixels_sha256="x"))
    with pytest.raises(LeakError, match=r"b\.tif and a\.tif are nearly the same picture in two folds"):
        dealing.require_no_shared_pictures(split, images.assign(look_alike="a.tif"))


@given(cohorts, st.data())
def test_patients_who_share_a_picture_share_a_fold_whatever_their_class(
    case: tuple[int, int, int, int], data: st.DataObject
) -> None:
    controls, others, n_folds, seed = case
    patients = cohort(controls + 4, others + 4)
    linked = data.draw(st.lists(st.sampled_from(range(len(patients))), min_size=2, max_size=4, unique=True))
    patients.loc[linked, "set"] = linked[0]
    split = dealing.deal(patients, n_folds, seed).set_index("patient")
    assert split.loc[patients.loc[linked, "patient"], "fold"].nunique() == 1
    assert (split.groupby("label")["fold"].nunique() == n_folds).all()


def test_too_many_linked_patients_are_named() -> None:
    patients = cohort(9, 9)
    patients.loc[patients["label"] == 1, "set"] = 0
    with pytest.raises(DataError, match=r"1 patients of the subtype class \(patients who share a picture count as one\)"):
        dealing.deal(patients, 3, 0)
