"""A seeded synthetic cohort of single white blood cells: patients, and the cells each of them has.

It stands in for a cohort that may not be downloaded, with what makes real ones hard: labels belong to patients,
leukaemia smears hold normal cells for the most part, some images show an artefact or cannot be told, healthy donors have
cells that resemble leukaemic ones, staining and light differ by patient, patients have unequal numbers of images.
Every patient and every cell has a seed of its own, so none depends on how many others are drawn, and the pixels are the
same on every machine (see `shapes`). Nothing here reads a file, a clock or a global state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.demo import smear
from pipeline.demo.artefacts import ARTEFACTS
from pipeline.demo.cell_types import CELL_TYPES
from pipeline.demo.cells import Place, draw_cell
from pipeline.demo.hospitals import HOME, Hospital
from pipeline.demo.shapes import between

Kind = Literal["normal", "leukaemic", "ambiguous", "artefact"]

SUBTYPES: tuple[str, ...] = ("PML_RARA", "NPM1", "CBFB_MYH11", "RUNX1_RUNX1T1")
# Drawn where somebody asks for it: a leukaemia that the others' networks have never seen.
ON_DEMAND = "KMT2A_MLLT3"
_MOST_ON_DEMAND = 1000

# Parts per cell type, by WHO 2017 and FAB descriptions, see `cell_types`; of normal cells: `hospitals`.
_DISEASED_CELLS = {
    "PML_RARA": {"promyelocyte": 65, "faggot_cell": 35},
    "NPM1": {"cup_blast": 75, "blast": 25},
    "CBFB_MYH11": {"monocytic_blast": 60, "abnormal_eosinophil": 30, "blast": 10},
    "RUNX1_RUNX1T1": {"hof_blast": 70, "maturing_granulocyte": 30},
    ON_DEMAND: {"monoblast": 80, "blast": 20},
}

# Parts per way in which an image tells nothing.
_UNUSABLE = {"smudge": 40, "debris": 20, "out_of_focus": 40}

_LEUKAEMIA_PEOPLE = (0.5, 55, 28.0)  # as `Hospital.control_people`
_AGES = (18, 90)

# Folders of these names cannot be made on Windows.
_RESERVED_IDS = {"AUX", "CON", "NUL", "PRN"}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Patient:
    """One person's smear.

    `diseased_share` is the chance that an image shows a leukaemic cell in focus (0 for controls), `unusable_share` that it
    tells nothing.
    """

    patient: str
    class_name: str
    images: int
    diseased_share: float
    unusable_share: float
    sex: str
    age: int


@dataclass(frozen=True)
class Cell:
    """One image, `pixels` `(144, 144, 3)` RGB; `diseased` is the cell, whether or not it can be told.

    An artefact has no `place`: it shows no cell.
    """

    image: str
    cell_type: str
    kind: Kind
    diseased: bool
    pixels: NDArray[np.uint8]
    place: Place | None = None


def draw_patients(
    control: str,
    patients_per_class: Mapping[str, int],
    images_per_patient: tuple[int, int],
    diseased_share: tuple[float, float],
    seed: int,
    unusable_share: tuple[float, float] = (0.0, 0.0),
    hospital: Hospital = HOME,
) -> list[Patient]:
    """The cohort's patients in the order of `patients_per_class`; a larger number only appends patients to that class.

    Raises `ValueError` for a class that is neither `control` nor a known subtype, and for impossible numbers.
    """
    fewest, most = images_per_patient
    if not 1 <= fewest <= most:
        raise ValueError(f"images_per_patient is {images_per_patient}: give two whole numbers, 1 <= low <= high.")
    for name, (low, high) in {"diseased_share": diseased_share, "unusable_share": unusable_share}.items():
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"{name} is {(low, high)}: give two shares, 0 <= low <= high <= 1.")
    if diseased_share[1] + unusable_share[1] > 1.0:
        raise ValueError(f"diseased_share up to {diseased_share[1]} and unusable_share up to {unusable_share[1]} are over 1.")
    ids = _shuffled_ids(seed)
    patients = []
    for class_name, count in patients_per_class.items():
        slot = _slot(class_name, control)
        own_ids = _own_ids(ids, slot)
        if not 0 <= count <= len(own_ids):
            raise ValueError(f"{count} patients of class {class_name}: possible are 0 to {len(own_ids)}.")
        for patient_id in own_ids[:count]:
            rng = _rng(seed, class_name, control, patient_id, "person")
            men, median, spread = _LEUKAEMIA_PEOPLE if slot else hospital.control_people
            share = diseased_share[0] + (diseased_share[1] - diseased_share[0]) * float(rng.random())
            # The larger of two uniform numbers: most patients lie in the upper half, as in the real cohort.
            fullness = max(float(rng.random()), float(rng.random()))
            sex = "m" if float(rng.random()) < men else "f"
            age = median + round(spread * (float(rng.random()) + float(rng.random()) + float(rng.random()) - 1.5))
            patients.append(
                Patient(
                    patient=patient_id,
                    class_name=class_name,
                    images=fewest + round((most - fewest) * fullness),
                    diseased_share=share if slot else 0.0,
                    unusable_share=between(rng, unusable_share),
                    sex=sex,
                    age=min(_AGES[1], max(_AGES[0], age)),
                )
            )
    return patients


def draw_cells(patient: Patient, control: str, seed: int, hospital: Hospital = HOME) -> Iterator[Cell]:
    """The patient's images in order; each depends on `seed`, class, patient and its own number alone."""
    slot = _slot(patient.class_name, control)
    rng = _rng(seed, patient.class_name, control, patient.patient, "smear")
    stain = hospital.smear(smear.draw_stain(rng))
    normal = _own_mix(hospital.normal_cells, rng)
    diseased = _own_mix(_DISEASED_CELLS[patient.class_name], rng) if slot else {}
    for number in range(patient.images):
        rng = _rng(seed, patient.class_name, control, patient.patient, f"cell {number}")
        chance = float(rng.random())
        unusable = _pick(_UNUSABLE, rng) if chance >= 1.0 - patient.unusable_share else None
        if unusable in ARTEFACTS:
            yield Cell(f"image_{number}.tif", unusable, "artefact", False, ARTEFACTS[unusable](stain, rng))
            continue
        if unusable:  # one of the patient's cells, leukaemic as often as the others are
            chance = float(rng.random()) * (1.0 - patient.unusable_share)
        is_diseased = chance < patient.diseased_share
        cell_type = _pick(diseased if is_diseased else normal, rng)
        pixels, place = draw_cell(CELL_TYPES[cell_type], stain, rng, smear.OUT_OF_FOCUS if unusable else smear.IN_FOCUS)
        kind: Kind = "ambiguous" if unusable else "leukaemic" if is_diseased else "normal"
        yield Cell(f"image_{number}.tif", cell_type, kind, is_diseased, pixels, place)


def _slot(class_name: str, control: str) -> int:
    """0 for the control class, 1 to 4 for the subtypes, 5 for the one on demand."""
    if control in (*SUBTYPES, ON_DEMAND):
        raise ValueError(f"{control} is a subtype's name: call the control class something else.")
    if class_name == control:
        return 0
    if class_name not in (*SUBTYPES, ON_DEMAND):
        known = ", ".join((*SUBTYPES, ON_DEMAND))
        raise ValueError(f"Unknown subtype {class_name!r}: known are {known}, and {control!r} as control.")
    return 1 + (*SUBTYPES, ON_DEMAND).index(class_name)


def _own_ids(ids: list[str], slot: int) -> list[str]:
    """Those of a class; of the one on demand from the other end of its neighbour's, so that nobody else's change."""
    classes = len(SUBTYPES) + 1
    return ids[slot::classes] if slot < classes else ids[classes - 1 :: classes][: -_MOST_ON_DEMAND - 1 : -1]


def _shuffled_ids(seed: int) -> list[str]:
    """All usable ids, shuffled; each class takes every fifth, so no id depends on another class's size."""
    ids = [a + b + c for a in _LETTERS for b in _LETTERS for c in _LETTERS if a + b + c not in _RESERVED_IDS]
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).permutation(len(ids))
    return [ids[int(position)] for position in order]


def _rng(seed: int, class_name: str, control: str, patient_id: str, what: str) -> np.random.Generator:
    """A generator for one thing; the name given to the control class does not matter."""
    name = "control" if class_name == control else class_name
    digest = hashlib.sha256(f"{name}/{patient_id}/{what}".encode()).digest()
    words = [int.from_bytes(digest[at : at + 4], "little") for at in range(0, 16, 4)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=words)))


def _own_mix(parts: Mapping[str, int], rng: np.random.Generator) -> dict[str, int]:
    """Scale each part by 0.3 to 1.7, drawn: patients differ in their blood counts."""
    return {cell_type: part * int(rng.integers(30, 171)) for cell_type, part in parts.items()}


def _pick(parts: Mapping[str, int], rng: np.random.Generator) -> str:
    left = int(rng.integers(sum(parts.values())))
    for cell_type, part in parts.items():
        left -= part
        if left < 0:
            return cell_type
    raise AssertionError("parts do not add up")
