"""Deal the patients who have no fold yet, in data/folds.csv, which is in git: nobody is moved who need not be.

Where `split.file` names a published dealing, nobody is dealt here.
"""

from __future__ import annotations

import pandas as pd

from pipeline.common import console, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, LeakError
from pipeline.folds import dealer, ledger
from pipeline.images import look_alikes
from pipeline.names import patient_names

_COLUMNS = ["class", "patient", "look_alike", "error"]


def run(config: Config) -> None:
    """Deal the usable patients of all classes.

    Raises:
        DataError: the manifest or data/folds.csv is damaged, or nobody can be dealt.
        LeakError: a patient is there under two names.
    """
    manifest = made.table(paths.MANIFEST, columns=_COLUMNS)
    usable = manifest[(manifest["error"] == "") & manifest["class"].isin(config.classes)]
    if damaged := [who for who in usable["patient"].unique() if not who.isprintable() or not patient_names.identity(who)]:
        raise DataError(  # `validate` lets no such folder through, and no CSV table holds a line's end that it would give back
            f"{paths.MANIFEST}: damaged (a patient is called {damaged[0]!r:.40}); run `dvc checkout --force {paths.MANIFEST}`"
        )
    if usable.empty:
        raise DataError(
            f"{paths.MANIFEST}: has no usable image of a class of params.yaml; {paths.VALIDATION / 'quarantine.csv'} says why. "
            "Mend the source, or the classes' names, and run `dvc repro`"
        )
    for spellings in patient_names.spelled_apart(usable["patient"].unique()).values():
        raise LeakError(
            f"{patient_names.shown(*spellings)} are one patient's name; make them one folder in the source, or rename one of "
            "them, and run `dvc repro` again"
        )
    patients = usable[["class", "patient"]].drop_duplicates()
    patients["who"] = patients["patient"].map(patient_names.identity)
    linked = look_alikes.link(usable["patient"].tolist(), usable["look_alike"].tolist())
    patients["set"] = patients["patient"].map(linked)
    before = ledger.read(paths.FOLDS, patient_names.identity)
    if config.split.file is not None:
        console.say(f"deal: {config.split.file} deals; {paths.FOLDS} stays as it is, for the day split.file is null again")
        ledger.write_down(paths.FOLDS, dict(zip(before["patient"], before["fold"], strict=True)))
        return
    known = _known(before, patients, config.split.n_folds)
    dealt = dealer.deal(patients, known, config.split.n_folds, config.seed)
    spelled: dict[str, str] = dict(zip(patients["who"], patients["patient"], strict=True))
    spelled |= dict(zip(before["who"], before["patient"], strict=True))
    ledger.write_down(paths.FOLDS, {spelled[who]: fold for who, fold in {**known, **dealt}.items()})
    _say_linked(patients)
    _say_moved(dealt, dict(zip(before["who"], before["fold"], strict=True)), config.split.n_folds, ledger.n_folds(before))


def _known(before: pd.DataFrame, patients: pd.DataFrame, n_folds: int) -> dict[str, int]:
    """What of the ledger counts: nothing if it is of another number of folds, or of nobody who is here."""
    if not before["who"].isin(patients["who"]).any():
        if len(before):
            console.say(f"deal: {paths.FOLDS} had the folds of another cohort, and is begun anew")
        return {}
    return dict(zip(before["who"], before["fold"], strict=True)) if ledger.n_folds(before) == n_folds else {}


def _say_linked(patients: pd.DataFrame) -> None:
    for _, together in patients[patients["set"].duplicated(keep=False)].groupby("set")["patient"]:
        console.say(f"deal: in one fold, because they share a picture: {', '.join(together)}")


def _say_moved(dealt: dict[str, int], before: dict[str, int], n_folds: int, n_before: int) -> None:
    new = len(dealt.keys() - before.keys())
    console.say(f"deal: {len(dealt)} patients in {n_folds} folds, {new} of them new in {paths.FOLDS}; commit it")
    moved = sum(who in before and before[who] != fold for who, fold in dealt.items())
    if moved:
        why = "for pictures that patients of two folds share, or for a class that a fold had lost"
        if n_before != n_folds:
            why = f"because split.n_folds is {n_folds} and was {n_before}"
        console.warn(
            f"{moved} of {len(dealt) - new} patients were moved to another fold, {why}: figures of before and after are "
            "not comparable"
        )
