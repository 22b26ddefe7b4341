"""Who goes into which fold: patients are dealt once, for all classes, and stay."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from pipeline.common.errors import DataError
from pipeline.folds import split_table


def deal(patients: pd.DataFrame, known: Mapping[str, int], n_folds: int, seed: int) -> dict[str, int]:
    """Deal patients (columns who, class, set) to folds, once for all classes: who -> fold.

    Whoever is `known` stays where he or she is. The others go, in an order drawn from `seed`, where fewest of their class are.
    Patients of one `set` (they share a picture) land in one fold, that of most of them who are known, and every class gets
    into every fold: for these two, and nothing else, somebody who is known is moved.

    Raises:
        DataError: a class has fewer sets of patients than there are folds.
        LeakError: a patient is in two classes.
    """
    patients = patients.sort_values(["class", "who"], ignore_index=True)
    split_table.require_one_class(patients["who"])
    for name, own in patients.groupby("class"):
        if own["set"].nunique() < n_folds:
            linked = "" if own["set"].is_unique else " (patients who share a picture count as one)"
            raise DataError(
                f"{own['set'].nunique()} patients of class {name}{linked} cannot fill {n_folds} folds; lower split.n_folds or "
                "add patients"
            )
    sets = [_Set(tuple(own["who"]), Counter(own["class"])) for _, own in patients.groupby("set")]
    table = _Table(n_folds, seed)
    for one in sorted(sets, key=lambda one: (one.fold_of_most(known) is None, -len(one.members), table.lot(*one.members))):
        fold = one.fold_of_most(known)
        table.put(one, table.emptiest(one) if fold is None else fold)
    for name in sorted(patients["class"].unique()):
        table.fill(str(name))
    return {who: fold for one, fold in table.placed.items() for who in one.members}


@dataclass(frozen=True)
class _Set:
    """Patients who stay together, and how many of them each class has."""

    members: tuple[str, ...]
    classes: Counter[str] = field(hash=False)

    def fold_of_most(self, known: Mapping[str, int]) -> int | None:
        """The fold in which most of them are known to be, None if none is known."""
        folds = Counter(known[who] for who in self.members if who in known)
        return min(folds, key=lambda fold: (-folds[fold], fold)) if folds else None


class _Table:
    """Who has been dealt where."""

    def __init__(self, n_folds: int, seed: int) -> None:
        self._folds, self._seed = range(n_folds), seed
        self._patients: Counter[tuple[str, int]] = Counter()  # of a class in a fold
        self.placed: dict[_Set, int] = {}

    def put(self, one: _Set, fold: int) -> None:
        """Into a fold, and out of the one before."""
        for name, number in one.classes.items():
            if one in self.placed:
                self._patients[name, self.placed[one]] -= number
            self._patients[name, fold] += number
        self.placed[one] = fold

    def emptiest(self, one: _Set) -> int:
        """The fold with fewest patients of the set's classes, of those the one with fewest of all."""
        total = Counter[int]()
        for (_, fold), number in self._patients.items():
            total[fold] += number
        own = {fold: sum(number * self._patients[name, fold] for name, number in one.classes.items()) for fold in self._folds}
        return min(self._folds, key=lambda fold: (own[fold], total[fold], self.lot(str(fold), *one.members)))

    def fill(self, name: str) -> None:
        """Move sets of a class into the folds that have none of it, from those that have most."""
        for fold in self._folds:
            if self._patients[name, fold]:
                continue
            spare = [one for one, at in self.placed.items() if name in one.classes and self._can_leave(one, at)]
            if not spare:
                raise DataError(
                    f"too many patients of class {name} share a picture with others to fill {len(self._folds)} folds; "
                    "see reports/validation"
                )
            most = max(self._patients[name, self.placed[one]] for one in spare)
            spare = [one for one in spare if self._patients[name, self.placed[one]] == most]
            self.put(min(spare, key=lambda one: (len(one.members), self.lot(*one.members))), fold)

    def _can_leave(self, one: _Set, fold: int) -> bool:
        return all(self._patients[name, fold] > number for name, number in one.classes.items())

    def lot(self, *names: str) -> bytes:
        """What decides where nothing else does: the same for the same names, whoever else is dealt."""
        return hashlib.sha256("\0".join([str(self._seed), *names]).encode(errors="surrogateescape")).digest()
