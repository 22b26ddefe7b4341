"""Write params.yaml for a cohort of one's own: what its folders say, and of the rest what params.kaggle.yaml says.

Beside the DAG. Whatever is assumed is said, and what its settings ask for that so few patients cannot give. A params.yaml that
is there is replaced only if asked; else the new one lies beside it.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.cohort import first_look
from pipeline.cohort.first_look import Class
from pipeline.cohort.trees import Folder, NotCopied, Tree
from pipeline.cohort.zip_archive import Archive
from pipeline.common import checkout, config, console, files, params_file
from pipeline.common.errors import ConfigError, DataError
from pipeline.images import decoding
from pipeline.names import leftovers
from pipeline.own_cohort import params_text

TEMPLATE = Path("params.kaggle.yaml")
PARAMS = Path("params.yaml")
BESIDE = Path("params.init.yaml")
_CONTROLS = ("control", "controls", "normal", "normals", "healthy", "healthy_control", "healthy_donor")
_FEWEST_FOLDS, _MOST_FOLDS = 3, 5
_SMALL_STEPS = 150  # an epoch of fewer training steps is too short for Keras' BatchNorm momentum and the published rates
_SMALLEST_PX = 16  # which four poolings leave one pixel of
_SHORT_EPOCHS_RATE = 1e-4
_PUBLISHED, _NOT_PUBLISHED = "published", "cells"  # a candidate's name in the template, and where there is nothing published
_FOR_SHORT_EPOCHS: list[tuple[list[str], Any]] = [  # as the demo has them
    (["train", "batch_size"], 16),
    (["train", "batch_norm_momentum"], 0.9),
    (["train", "min_epochs"], 3),
]


def run(folder: Path, um: float | None, control: str | None, name: str | None, replace: bool) -> None:
    """Look at `folder` (or ZIP archive), of which `um` is the side of an image in micrometres; write params.yaml.

    Raises:
        DataError: no cohort lies there, or too few patients of a class.
        ConfigError: nothing says how large the field of view is, or which class is the control.
    """
    if not TEMPLATE.is_file():
        raise ConfigError(f"{TEMPLATE}: not found; run this in the folder that holds it")
    source = _opened(folder)
    found = first_look.classes(source)
    console.table(
        str(folder),
        ["class folder", "patients", "images", "images a patient"],
        [[known.name, len(known.patients), known.images, _range(known)] for known in found],
    )
    cohort = name or folder.resolve().stem
    assumed = [] if name else [f"cohort: {cohort}, by its folder (--name says another)"]
    names = _class_names(found, assumed)
    chosen = _control(list(names.values()), control, assumed)
    if empty := _without_images(source, found):
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        assumed.append(
            f"patients: not {source.where(empty[0])}{more}, without an image; complete it or take it away: validate stops"
        )
    assumed.append(
        "patients: called as their folders are, also in data/folds.csv, which is committed; where these are names or case "
        "numbers, set ingest.pseudonyms: true before the first `dvc repro` (docs/operations.md, Privacy)"
    )
    px = _image_px(source, found, assumed)
    um = _um(um)
    sizes, short = _sizes(found, px, assumed), _epochs_are_short(found, assumed)
    changes = [
        *_cohort_changes(names, chosen, cohort),
        (["image_px"], px),
        (["image_um"], um),
        *sizes,
        *(_FOR_SHORT_EPOCHS if short else []),
    ]
    target = PARAMS if replace or not PARAMS.exists() else BESIDE
    text = params_text.headed(TEMPLATE.read_text(encoding="utf-8"), _head(folder.name, names, found))
    text = params_text.with_networks(text, set(names.values()), _SHORT_EPOCHS_RATE if short else None)
    if networks := _networks_name(set(names.values()) - {chosen}):
        text = params_text.with_candidate(text, _PUBLISHED, networks)
        changes += [(["kinds", "cnn"], [networks]), (["transfer", "base"], networks)]
        assumed.append(f"candidates: {networks}, networks that look at cells, and bags, which look at patients")
    with files.in_one_step(target) as unfinished:
        unfinished.write_text(params_file.with_values(text, changes), encoding="utf-8")
        try:
            written = config.load(unfinished)
        except ConfigError as error:
            raise ConfigError(f"{folder}: {str(error).removeprefix(f'{unfinished}: ')}") from None
    for line in assumed:
        console.say(f"assumed  {line}")
    from pipeline.own_cohort import too_few  # with it comes SciPy: whoever mistyped the folder has been told by now

    counts = {names[known.name]: len(known.patients) for known in found}
    for line in too_few.told(counts, written, config.load(TEMPLATE).register_.gate.fewest_patients):
        console.say(f"too few  {line}")
    console.say(f"init: wrote {target}; every other setting is {TEMPLATE}'s")
    if target == BESIDE:
        console.say(f"{PARAMS} is there and stays as it is; to take the new one: mv {BESIDE} {PARAMS}   (or init --replace)")
    if hide := _seen_by_git(folder, found):
        console.warn(hide)
    console.say(f"then: export COHORT_DIR={shlex.quote(str(folder.resolve()))}; dvc repro")


def _opened(folder: Path) -> Tree:
    if not folder.exists():
        raise DataError(f"{folder}: is not there; name the folder, or ZIP archive, that holds the class folders")
    if folder.is_dir():
        return Folder(folder)
    return Archive(folder, config.load(TEMPLATE).ingest.archive)


def _seen_by_git(folder: Path, found: list[Class]) -> str:
    """What to do where `git add .` would take the cohort."""
    top = checkout.git("rev-parse", "--show-toplevel")
    if not top or not folder.resolve().is_relative_to(Path(top).resolve()):
        return ""
    one = folder / next(images[0] for images in found[0].patients.values()) if folder.is_dir() else folder
    if checkout.git("check-ignore", str(one.resolve())):
        return ""
    place = folder.resolve().relative_to(Path(top).resolve()).as_posix()
    return (
        f"{folder}: lies in this checkout, and git does not ignore it: move it out, or, before any `git add .`: "
        f"echo {shlex.quote(f'/{place}')} >> $(git rev-parse --git-path info/exclude)"
    )


def _range(known: Class) -> str:
    counts = [len(images) for images in known.patients.values()]
    return f"{min(counts)} to {max(counts)}"


def _without_images(source: Tree, found: list[Class]) -> list[str]:
    """Folders beside those of patients, in which no image lies."""
    beside = {child: child.rpartition("/")[2] for known in found for child in source.children(known.folder)[0]}
    patients = {f"{known.folder}/{patient}" for known in found for patient in known.patients}
    return [place for place, name in beside.items() if place not in patients and not leftovers.litter(name)]


def _class_names(found: list[Class], assumed: list[str]) -> dict[str, str]:
    """Folder -> class, of letters, digits and underscores: a class is a folder, a DVC stage and an MLflow model."""
    names = {known.name: re.sub(r"[^A-Za-z0-9]+", "_", known.name).strip("_") for known in found}
    for folder, name in names.items():
        if not name or list(names.values()).count(name) > 1:
            raise DataError(f"{folder}: its name makes no class name of its own ({name or 'no letter'}); rename the folder")
        if name != folder:
            assumed.append(f"folder {folder} is class {name} (ingest.class_folders)")
    return names


def _control(names: list[str], control: str | None, assumed: list[str]) -> str:
    if control is None:
        known = [name for name in names if name.lower() in _CONTROLS]
        if len(known) == 1:
            assumed.append(f"control: {known[0]}, by its name (--control says another)")
            return known[0]
        control = console.ask(f"Which class is the control, label 0 of every classifier? ({', '.join(names)})")
    if control is None:
        raise ConfigError(f"which class is the control? Say it: --control NAME, one of {', '.join(names)}")
    if control not in names:
        raise ConfigError(f"there is no class {control}; found: {', '.join(names)}")
    return control


def _um(um: float | None) -> float:
    if um is None:
        answer = console.ask("How many micrometres is the side of an image?") or ""
        try:
            um = float(answer)
        except ValueError:
            raise ConfigError(
                "no image says how large its field of view is, and a model of one size is wrong for another; say it: "
                "--um and the side of an image in micrometres (of CellaVision's 144 px images of the published cohort: 24.9)"
            ) from None
    if not 0 < um < 10_000:
        raise ConfigError(f"--um: the side of an image in micrometres is above 0, not {um:g}")
    return um


def _image_px(source: Tree, found: list[Class], assumed: list[str]) -> int:
    """The side most patients' first image has."""
    sides: Counter[int] = Counter()
    fault = ""
    firsts = [images[0] for known in found for images in known.patients.values()]
    for path in firsts:
        try:
            seen = decoding.inspect(b"".join(source.chunks(path)), None)
        except NotCopied as reason:
            fault = fault or f"{source.where(path)}: {reason}"
            continue
        if seen.pixels is None:
            fault = fault or f"{source.where(path)}: {seen.reason}"
        else:
            sides[seen.width] += 1
    if not sides:
        raise DataError(f"{fault}; of {len(firsts)} images looked at, one a patient, none can be used")
    px = sides.most_common(1)[0][0]
    if px < _SMALLEST_PX:
        raise DataError(f"{source.where(firsts[0])}: {px} px do not survive the networks' poolings; at least {_SMALLEST_PX}")
    others = len(firsts) - sides[px]
    assumed.append(
        f"image_px: {px}, as {sides[px]} of {len(firsts)} images looked at, one a patient"
        + (f"; {others} others would be quarantined ({fault or 'another size'})" if others else "")
    )
    return px


def _cohort_changes(names: dict[str, str], control: str, cohort: str) -> list[tuple[list[str], Any]]:
    return [
        (["control"], control),
        (["subtypes"], [name for name in names.values() if name != control]),
        (["ingest", "source"], "folder"),
        (["ingest", "cohort"], cohort),
        (["ingest", "class_folders"], {folder: name for folder, name in names.items() if name != folder}),
        (["validate", "expected"], None),
    ]


def _sizes(found: list[Class], px: int, assumed: list[str]) -> list[tuple[list[str], Any]]:
    """Settings that follow from how much there is; the template's are of the published cohort, of 189 patients."""
    template = config.load(TEMPLATE)
    least = min(found, key=lambda known: len(known.patients))
    patients = len(least.patients)
    if patients < _FEWEST_FOLDS:
        raise DataError(
            f"{least.folder}: {patients} patients; training, validation and test need one each, so at least {_FEWEST_FOLDS}"
        )
    n_folds = min(_MOST_FOLDS, patients)
    images = min(len(own) for known in found for own in known.patients.values())
    rules = template.validate_
    packed = min(template.pack.px, px)
    halves = [packed // 2] if packed % 2 == 0 and packed // 2 >= _SMALLEST_PX else []
    changes: list[tuple[list[str], Any]] = [
        (["split", "n_folds"], n_folds),
        (["folds"], list(range(n_folds))),
        (["validate", "min_images_per_patient"], min(rules.min_images_per_patient, max(1, images // 2))),
        (["validate", "min_patients_per_class"], min(rules.min_patients_per_class, max(n_folds, patients // 2))),
        (["register", "gate", "fewest_patients"], min(template.register_.gate.fewest_patients, max(4, patients))),
        (["pack", "px"], packed),
        (["tune", "space", "px"], [*halves, packed]),
    ]
    assumed.append(
        f"validate: a patient has at least {changes[2][1]} usable images, a class {changes[3][1]} patients (the fewest found: "
        f"{images} and {patients})"
    )
    fewer = f" ({_MOST_FOLDS} where each class has so many patients)" if n_folds < _MOST_FOLDS else ""
    assumed.append(
        f"folds: all {n_folds}{fewer}, so {n_folds * (len(found) - 1)} networks are trained (each says first how long it may "
        f"take); `folds: [0]` in params.yaml trains {len(found) - 1}, to see that all runs; it tests {patients // n_folds} of "
        "the smallest class, and a champion that `register` makes of them is not comparable with one of all folds"
    )
    return changes


def _epochs_are_short(found: list[Class], assumed: list[str]) -> bool:
    template = config.load(TEMPLATE)
    n_folds = min(_MOST_FOLDS, *(len(known.patients) for known in found))
    most = template.train.images_per_class
    steps = 2 * min(min(most or known.images, known.images) for known in found)
    steps = steps * (n_folds - 2) // n_folds // template.train.batch_size
    if steps < _SMALL_STEPS:
        assumed.append(
            f"train: an epoch has only some {max(steps, 1)} steps, so as for the demo: batches of 16, BatchNorm's momentum .9, "
            "3 epochs at least, learning rate 1e-4"
        )
    return steps < _SMALL_STEPS


def _networks_name(subtypes: set[str]) -> str | None:
    """What the candidate of networks is called, where a subtype has no published one; None: as in the template."""
    known = config.load(TEMPLATE).candidates[_PUBLISHED].model_dump()["networks"]
    return None if subtypes <= set(known) else _NOT_PUBLISHED


def _head(folder: str, names: dict[str, str], found: list[Class]) -> list[str]:
    """Comments that say where the values are from."""
    counts = [f"#   {names[known.name]}: {{patients: {len(known.patients)}, images: {known.images}}}" for known in found]
    return [
        f"# Every setting that changes a result: by `python -m pipeline init` for {folder}, the rest as in {TEMPLATE}.",
        "# Published means: with AML-Cytomorphology_MLL_Helmholtz, for which these settings were made (README.md).",
        "# Found there; below `validate.expected` these lines would stop a run whose delivery has more or fewer:",
        *counts,
    ]
