"""Paths `<class>/<patient>/<image>`, with forward slashes: their parts, their order, and why a file is not worth opening.

Everything is told from the text alone; no file is looked at.
"""

from __future__ import annotations

import re

from pipeline.names import leftovers, patient_names

LITTER_REASON = "not an image: left behind by a file browser"
_EXTENSIONS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
EXTENSIONS = f"{', '.join(_EXTENSIONS[:-1])} or {_EXTENSIONS[-1]}"  # as a message says it


def natural(text: str) -> tuple[str | int, ...]:
    """A sort key by which digits count as numbers: image_2 comes before image_10."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text))


def place(path: str) -> tuple[str, str, str]:
    """(class, patient, image) of a path; a file that lies too high or too deep has no patient."""
    folders = path.split("/")
    if len(folders) == 3:
        return folders[0], folders[1], folders[2]
    return folders[0] if len(folders) > 1 else "", "", folders[-1]


def is_image_name(path: str) -> bool:
    """Whether a file claims to be one of the cohort's images."""
    return path.lower().endswith(_EXTENSIONS) and not leftovers.litter(path) and leftovers.stand_in(path) is None


def name_fault(path: str) -> str:
    """Why a file is not worth opening ("" if it is): told from its path alone."""
    if leftovers.litter(path):
        return LITTER_REASON
    if missing := leftovers.stand_in(path):
        return missing.reason
    if unseen := sorted({f"U+{ord(letter):04X}" for letter in path if not letter.isprintable()}):
        return f"its path holds unprintable characters ({', '.join(unseen)}); rename it"
    if not is_image_name(path):
        return f"not an image: its name does not end in {EXTENSIONS}"
    if not (patient := place(path)[1]):
        return "lies outside <class>/<patient>/"
    return "" if patient_names.identity(patient) else "the name of its patient's folder is blank; rename it"


def folded(path: str) -> str:
    """A path that is the same for all that one takes for one: file systems ignore case, the form of accents, or blanks."""
    return "/".join(map(patient_names.identity, path.split("/")))
