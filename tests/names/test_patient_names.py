"""A patient is one, however the name was typed, copied or stored."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import seen_by_search
from pipeline.names import patient_names
from pipeline.names.patient_names import identity

BLANKS = [" ", "\t", "\u00a0", "\u2007", "\u3000", "\u200b", "\u200e", "\u2060", "\ufeff", "\u00ad", "\u3164", "\u2800"]
NAMES = st.text() | st.text("aAzZ19 -_.äÄßςΣıİǅﬁ\u0308\u0307\u0345\u200b\u00a0")
SPELLINGS: list[Callable[[str], str]] = [
    *(lambda name, form=form: unicodedata.normalize(form, name) for form in ("NFC", "NFD")),
    *(str.upper, str.lower, str.title, str.swapcase, str.casefold),
    *(lambda name, blank=blank: f"{blank}{name}" for blank in BLANKS),
    *(lambda name, blank=blank: f"{name}{blank}" for blank in BLANKS),
    patient_names.tidy,
    identity,
]


@given(NAMES, st.lists(st.sampled_from(SPELLINGS), max_size=4))
def test_no_spelling_changes_who_it_is(name: str, changes: list[Callable[[str], str]]) -> None:
    # Marks in the order of Unicode, as whoever types has them: an iota below that stands out of it becomes a letter elsewhere.
    spelled = unicodedata.normalize("NFD", name)
    for change in changes:
        spelled = change(spelled)
    assert identity(spelled) == identity(name)


@given(NAMES)
def test_an_identity_is_composed_folded_and_trimmed(name: str) -> None:
    who = identity(name)
    assert who == unicodedata.normalize("NFC", who) == who.strip()
    assert identity(who.upper()) == who


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("M\u00fcller", "Mu\u0308ller"),
        ("Pat12", "PAT12"),
        ("P12", "P12 "),
        ("P12", "\ufeffP12"),
        ("P12", "P1\u200b2"),
        ("P 12", "P\u00a0 12"),
        ("Gro\u00df", "GROSS"),
        ("Y\u0131ld\u0131z", "YILDIZ"),
        ("\u0130nci", "inci"),
        ("\u0130\u0307nci", "inci"),
        ("\u1112\u1161\u11ab", "\ud55c"),
    ],
)
def test_one_patient_in_two_spellings(one: str, other: str) -> None:
    assert identity(one) == identity(other)
    assert patient_names.spelled_apart([one, "X", other, one]) == {identity(one): sorted([one, other])}
    assert patient_names.are_among([one, "X"], [other]) == [True, False]
    assert patient_names.not_among([other, "X"], [one]) == ["X"]
    first, second = patient_names.shown(one, other).split(" and ")
    assert first.isascii()
    assert first != second


@pytest.mark.parametrize(
    ("one", "other"), [("P12", "P 12"), ("Muller", "M\u00fcller"), ("P1", "P01"), ("P-1", "P_1"), ("P12", "P12.")]
)
def test_other_differences_are_other_patients(one: str, other: str) -> None:
    assert identity(one) != identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P12.", "P12"),
        ("P12\u2026", "P12"),
        ("\uff30\uff11\uff12", "P12"),
        ("\u041012", "A12"),
        ("\u0391\u0395", "AE"),
        ("\u0421\u0435\u043c\u0451\u043d", "\u0441\u0415\u041c\u0401\u041d."),
        ("P\u201112", "P-12"),
        ("P\u201312", "P-12"),
        ("O\u2019Brien", "O'Brien"),
        ("O\u00b4Brien", "O'Brien"),
    ],
)
def test_names_that_look_the_same_are_told(one: str, other: str) -> None:
    assert identity(one) != identity(other)
    told = {identity(one): other, identity(other): one}
    assert patient_names.alike([one, "X", other.upper(), other], patient_names.drawn) in (
        told,
        {**told, identity(one): other.upper()},
    )
    assert patient_names.alike([one, "X", other], patient_names.loosely) == told


@pytest.mark.parametrize(
    ("one", "other"),
    [("007", "7"), ("P012", "P12"), ("M\u00fcller", "Muller"), ("P 12", "P_12"), ("P-12", "P.12"), ("PO1", "P01")],
)
def test_names_that_look_nearly_the_same_are_told_apart_by_the_eye_alone(one: str, other: str) -> None:
    assert patient_names.alike([one, "X", other], patient_names.drawn) == {}
    assert patient_names.alike([one, "X", other], patient_names.loosely) == {identity(one): other, identity(other): one}


@pytest.mark.parametrize(
    "names", [["AIL", "ALI", "AOL", "LIA"], ["P1-12", "P11-2", "P112"], ["P1", "P10", "P100"], ["...", "."]]
)
def test_other_names_look_like_nobodys(names: list[str]) -> None:
    for form in (patient_names.drawn, patient_names.loosely):
        assert patient_names.alike(names, form) == {}


@given(NAMES)
def test_a_name_in_another_spelling_looks_the_same(name: str) -> None:
    assert patient_names.alike([name, unicodedata.normalize("NFD", name), f" {name}"], patient_names.drawn) == {}


def test_patients_whom_a_search_saw_are_known_in_any_spelling() -> None:
    tested = pd.DataFrame({"patient": ["ALW", "M\u00fcller", "BIO", "CCC"], "label": [0, 1, 1, 0]})
    assert seen_by_search.claimed(tested, ["alw", "Mu\u0308ller "])["patient"].tolist() == ["BIO", "CCC"]
    assert seen_by_search.are_leaked(tested, ["bio", "MU\u0308LLER"])
