"""What settings ask for and so many patients of each class cannot give, and what can be set instead. No file is read here.

A function answers with a line, None where there are enough. Patients are counted as they lie there: who is excluded, or shares
a fold because of a picture, makes it fewer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.calling import conformal
from pipeline.calling import patients as calling
from pipeline.common.config import Config
from pipeline.evaluation import sample_size


def told(patients: Mapping[str, int], written: Config, usual_fewest: int) -> list[str]:
    """A line for every setting that is asked for in vain; `usual_fewest` is the gate's `fewest_patients` of a large cohort."""
    least = min(patients, key=lambda name: patients[name])
    lines = [
        _floors(least, patients[least], written),
        _gate(least, patients[least], written, usual_fewest),
        _operating_point(_outside(1, patients[written.control], written), written),
        _call(least, patients[least], written),
    ]
    return [line for line in lines if line]


def _outside(folds: int, patients: int, written: Config) -> int:
    """Patients of a class outside so many folds, those that hold most of them."""
    return patients - sum(math.ceil((patients - fold) / written.split.n_folds) for fold in range(folds))


def _floors(name: str, patients: int, written: Config) -> str | None:
    floors = written.register_.floors.bag
    floor = floors.patient_specificity if name == written.control else floors.patient_sensitivity
    shown = sample_size.bound_if_all_right(patients, written.evaluate.confidence)
    if shown >= floor:
        return None
    wrong = math.floor(patients * (1 - floor) + 1e-9)
    return (
        f"register.floors: a champion may call {f'{wrong} of the' if wrong else 'none of the'} {patients} patients of {name} "
        f"wrongly; and all called rightly would show it of {shown:.0%} of such patients only"
    )


def _gate(name: str, patients: int, written: Config, usual_fewest: int) -> str | None:
    fewest = written.register_.gate.fewest_patients
    if patients < fewest:
        return (
            f"register.gate.fewest_patients: a model is held against a champion on {fewest} patients of a class or more, "
            f"{name} has {patients}: the first that reaches the floors stays champion until `python -m pipeline promote`"
        )
    if fewest < usual_fewest:
        return (
            f"register.gate.fewest_patients: written {fewest} in place of {usual_fewest}, as {name} has {patients}; on so few "
            "a model takes a champion's place only if it is much better"
        )
    return None


def _operating_point(controls: int, written: Config) -> str | None:
    asked = written.evaluate
    if controls >= asked.fewest_controls:
        return None
    highest = math.floor(100 * controls / (controls + 1)) / 100
    return (
        f"evaluate.fewest_controls: an operating point takes {asked.fewest_controls} controls beside those of the tested fold, "
        f"there are {controls}: the threshold stays {asked.threshold:g}; or set fewest_controls: {controls}, "
        f"target_specificity: {highest:g} at most"
    )


def _call(name: str, patients: int, written: Config) -> str | None:
    if (left := _outside(2, patients, written)) < (least := calling.FEWEST):
        return (
            f"call: one answer of all classes takes {least} patients of each outside two folds, {name} has {left}: none is made"
        )
    coverage, beside = written.call.coverage, _outside(1, patients, written)
    promise = conformal.promise(beside, coverage)
    if promise.kept:
        return None
    highest = math.floor(100 * promise.highest) / 100
    return (
        f"call.coverage: sets of classes that hold the right one in {coverage:.0%} take {promise.needed} patients of each "
        f"class beside those of the tested fold, of {name} there are {beside}: the call gives no sets; or set coverage: "
        f"{highest:g} at most"
    )
