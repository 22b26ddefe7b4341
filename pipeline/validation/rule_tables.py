"""What the rules look at: a whole manifest and data/patients.csv as tables of which text columns are empty where all is well.

Files that a person excluded are judged in none of them. They are counted where numbers are held against what was delivered: by
class, against what params.yaml expects, and against what is listed of a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from pipeline.common.config import Config
from pipeline.common.params_data import Counts
from pipeline.images import decoding, manifest
from pipeline.names import image_paths, patient_names


def build(frame: pd.DataFrame, listed: pd.DataFrame, config: Config) -> dict[str, pd.DataFrame]:
    """The tables by name, of a whole manifest and of data/patients.csv."""
    files = manifest.not_excluded(frame)
    usable = manifest.usable(frame)
    counted = manifest.without_litter(files)
    return {
        "files": _files(counted),
        "images": _images(usable),
        "patients": _patients(counted),
        "listed classes": _other_class(_in_question(files, listed)),
        "listed numbers of images": _other_number(frame, _in_question(files, listed)),
        "expected classes": _expected(frame, config.validate_.expected or {}),
        "folders": pd.DataFrame({"folder": pd.Series(sorted(set(counted["class"]) - {""}), dtype="str")}),
        "classes": class_counts(frame, config.classes),
        "cohort": pd.DataFrame(
            {
                "files": [f"{int((counted['error'] != '').sum()):,} of {len(counted):,} files"],
                "quarantined_share": [float((counted["error"] != "").mean()) if len(counted) else 0.0],
            }
        ),
    }


def names_batches(listed: pd.DataFrame) -> bool:
    """Whether data/patients.csv knows everybody's batch, and more than one."""
    batches = set(listed["batch"])
    return len(batches) > 1 and "" not in batches


def class_counts(frame: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Per class: patients with usable images, usable images; patients and files as delivered; files quarantined."""
    frame = frame.assign(patient=frame["patient"].map(patient_names.identity))
    usable = manifest.usable(frame).groupby("class")
    known = frame[frame["patient"] != ""].groupby("class")
    counts = pd.DataFrame(
        {
            "patients": usable["patient"].nunique(),
            "images": usable.size(),
            "patients_delivered": known["patient"].nunique(),
            "files": frame.groupby("class").size(),
        }
    ).reindex(classes)
    counts = counts.fillna(0).astype("int64")
    counts["quarantined"] = counts["files"] - counts["images"]
    return counts.rename_axis("class").reset_index()


def size(width: int, height: int) -> str:
    """A width and a height in pixels as one text, the same wherever sizes are compared or shown: `144 x 144`."""
    return f"{width} x {height}"


def _files(files: pd.DataFrame) -> pd.DataFrame:
    lone = (files["patient"] == "") & files["path"].map(image_paths.is_image_name)
    first = files.groupby(files["path"].map(image_paths.folded), sort=False)["path"].transform("first")
    again = first != files["path"]
    return pd.DataFrame(
        {
            "path": files["path"].where(~again, files["path"].map(_told_apart)),
            "misplaced": pd.Series("not in <class>/<patient>/", files.index, dtype="str").where(lone),
            "same_name_as": first.map(_told_apart).where(again),
        }
    )


def _told_apart(path: str) -> str:
    """As it is if that shows all there is to see; else in quotes and in ASCII."""
    return path if path.isascii() and path.isprintable() else ascii(path)


def _images(usable: pd.DataFrame) -> pd.DataFrame:
    owner = usable["class"] + "/" + usable["patient"].map(patient_names.identity)
    twin = _elsewhere(usable, owner, "pixels_sha256")
    return pd.DataFrame(
        {
            "path": usable["path"],
            "size_px": [size(w, h) for w, h in zip(usable["width"], usable["height"], strict=True)],
            "same_pixels_elsewhere": twin,
            "same_pixels_before": _before(usable, owner, "pixels_sha256"),
            "look_alike_elsewhere": _elsewhere(usable, owner, "look_alike").where(twin.isna()),
            "look_alike_before": _before(usable, owner, "look_alike"),
            "lossy": usable["format"].where(usable["format"].isin(decoding.LOSSY)),
        }
    )


def _elsewhere(usable: pd.DataFrame, owner: pd.Series[str], column: str) -> pd.Series[str]:
    """For each image the path of one with the same `column` in another patient, null where there is none."""
    alike = usable[column].where(usable[column] != "")
    first, first_owner = (
        usable["path"].groupby(alike, sort=False).transform("first"),
        owner.groupby(alike, sort=False).transform("first"),
    )
    of_others = usable["path"].where(owner != first_owner)
    return first.where(owner != first_owner, of_others.groupby(alike, sort=False).transform("first"))


def _before(usable: pd.DataFrame, owner: pd.Series[str], column: str) -> pd.Series[str]:
    """For each image the path of the patient's first one with the same `column`, null for the first itself."""
    alike = usable[column].where(usable[column] != "")
    first = usable.groupby([owner, alike], sort=False)["path"].transform("first")
    return first.where(first != usable["path"])


def _patients(files: pd.DataFrame) -> pd.DataFrame:
    known = files[files["patient"] != ""]
    known = known.assign(who=known["patient"].map(patient_names.identity))
    by_patient = known.groupby("who", sort=False)
    classes = by_patient["class"].agg(lambda names: ", ".join(sorted(set(names)))).astype("str")
    spellings = by_patient["patient"].agg(lambda names: patient_names.shown(*sorted(set(names)))).astype("str")
    medians = manifest.usable(known).groupby("who")[[*manifest.COLOURS, "sharpness"]].median()
    deviations = medians.apply(_deviations).reindex(classes.index)
    images = by_patient["error"].agg(lambda errors: int((errors == "").sum())).astype("int64")
    told = {form: _alike(known["patient"], classes.index, form) for form in (patient_names.drawn, patient_names.loosely)}
    commonest = by_patient["error"].agg(lambda errors: errors.value_counts().index[0]).astype("str")
    return pd.DataFrame(
        {
            "patient": spellings,
            "spelled_apart": ("one patient, in " + classes).where(by_patient["patient"].nunique() > 1),
            "drawn_alike": told[patient_names.drawn],
            "named_alike": told[patient_names.loosely].where(told[patient_names.drawn].isna()),
            "several_classes": classes.where(by_patient["class"].nunique() > 1),
            "without_images": commonest.where(images == 0),
            "images": images,
            "colour_deviation": deviations[list(manifest.COLOURS)].max(axis="columns"),
            "sharpness_deviation": deviations["sharpness"],
        }
    ).reset_index(drop=True)


def _alike(names: pd.Series[str], who: pd.Index[str], form: Callable[[str], str]) -> pd.Series[str]:
    """For each identity its name and another's of the same `form`, so that they can be told apart; null where there is none."""
    own = dict(zip(names.map(patient_names.identity), names, strict=True))
    others = patient_names.alike(names.unique(), form)
    return pd.Series({one: f"{own[one]!a} and {others[one]!a}" for one in others}, dtype="str").reindex(who)


def _deviations(values: pd.Series[float]) -> pd.Series[float]:
    """Distance from the median in robust standard deviations: 1.4826 times the median distance, that of a normal.

    Where that is 0, as of patients who are all alike, it is no measure, and no distance is known.
    """
    distance = (values - values.median()).abs()
    spread = 1.4826 * distance.median()
    return distance / (spread if spread > 0 else float("nan"))


def _in_question(files: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """The listed patients whom nobody excluded as a whole."""
    kept = files[["class", "patient"]].drop_duplicates()
    return listed.merge(kept, on=["class", "patient"])


def _other_class(listed: pd.DataFrame) -> pd.DataFrame:
    rows = listed[listed["class_listed"] != ""]
    text = "in " + rows["class"] + ", listed as " + rows["class_listed"]
    return pd.DataFrame({"patient": rows["patient"], "class_differs": text.where(rows["class_listed"] != rows["class"])})


def _other_number(frame: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    there = frame[frame["path"].map(image_paths.is_image_name)].groupby(["class", "patient"]).size().rename("there")
    said = listed[listed["images_listed"] != ""]
    rows = said.merge(there.reset_index(), on=["class", "patient"], how="left").fillna({"there": 0})
    text = rows["there"].astype("int64").astype("str") + " files, " + rows["images_listed"] + " listed"
    same = pd.to_numeric(rows["images_listed"]) == rows["there"]
    return pd.DataFrame({"patient": rows["patient"], "images_differ": text.where(~same)})


def _expected(frame: pd.DataFrame, expected: Mapping[str, Counts]) -> pd.DataFrame:
    by_class = frame[frame["path"].map(image_paths.is_image_name)].groupby("class")
    images, patients = by_class.size(), by_class["patient"].nunique()
    rows = []
    for name, counts in expected.items():
        here = (int(patients.get(name, 0)), int(images.get(name, 0)))
        same = here == (counts.patients, counts.images)
        found = f"{here[0]} patients, {here[1]:,} image files; expected {counts.patients} and {counts.images:,}"
        rows.append((name, None if same else found))
    return pd.DataFrame(rows, columns=pd.Index(["class", "differs"]), dtype="str")
