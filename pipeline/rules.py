"""What a cohort must satisfy before anything is trained on it: the rules, and the tables they look at.

Each rule is about one column of one table and names its offenders by the table's first column. Files that a person
excluded are in no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from pipeline import manifest, paths
from pipeline.config import Config, Counts


@dataclass(frozen=True)
class Rule:
    """One rule; `check` and `limits` are Great Expectations' name of it and what that name takes beside the column."""

    name: str
    expectation: str  # in plain words
    advice: str  # what to do where it is broken
    table: str
    column: str
    check: str = "ExpectColumnValuesToBeNull"
    limits: Mapping[str, object] = field(default_factory=dict)
    stops: bool = True  # the run, where it is broken; else it is a warning


def rules(config: Config) -> list[Rule]:
    """The rules, gravest first."""
    limits = config.validate_
    between = "ExpectColumnValuesToBeBetween"
    mend = f"complete the source and run ingest again, or exclude them in {paths.EXCLUDE}"
    return [
        Rule(
            "no_image_in_two_patients",
            "no two patients share an image: identical pixels may end up in training and test",
            f"find out whose image it is and exclude the other, or both, in {paths.EXCLUDE}",
            "images",
            "same_pixels_elsewhere",
        ),
        Rule(
            "patient_in_one_class",
            "a patient is in one class only",
            f"find out which class is right and correct the source, or exclude the patient in {paths.EXCLUDE}",
            "patients",
            "several_classes",
        ),
        Rule(
            "class_as_listed",
            "every patient is in the class that the cohort's metadata says",
            f"find out which is right and correct the source or the metadata, or exclude the patient in {paths.EXCLUDE}",
            "listed patients",
            "class_differs",
        ),
        Rule(
            "counts_as_expected",
            "every class has the patients and image files that params.yaml expects of this cohort",
            "fetch the cohort again: files are missing or too many; for another cohort set validate.expected to null",
            "expected classes",
            "differs",
        ),
        Rule(
            "class_known",
            f"the folders of {paths.RAW} are the classes of params.yaml: {', '.join(config.classes)}",
            "map the folder to a class in params.yaml (ingest.class_folders), or add it to subtypes",
            "folders",
            "folder",
            "ExpectColumnValuesToBeInSet",
            {"value_set": list(config.classes)},
        ),
        Rule(
            "class_present",
            "every class of params.yaml has usable images",
            "complete the source and run ingest again, or take the class out of params.yaml",
            "classes",
            "images",
            between,
            {"min_value": 1},
        ),
        Rule(
            "enough_patients",
            f"every class has at least {limits.min_patients_per_class} patients with usable images",
            "add patients, or lower validate.min_patients_per_class in params.yaml",
            "classes",
            "patients",
            between,
            {"min_value": limits.min_patients_per_class},
        ),
        Rule(
            "enough_images",
            f"every patient has at least {limits.min_images_per_patient} usable images",
            f"{mend}, or lower validate.min_images_per_patient in params.yaml",
            "patients",
            "images",
            between,
            {"min_value": limits.min_images_per_patient},
        ),
        Rule(
            "few_quarantined",
            f"at most {limits.max_quarantined_share:.2%} of the files are unusable (not counting {paths.EXCLUDE})",
            f"read the reasons in {paths.VALIDATION}/quarantine.csv, then "
            f"{mend}, or raise validate.max_quarantined_share in params.yaml",
            "cohort",
            "quarantined_share",
            between,
            {"max_value": limits.max_quarantined_share},
        ),
        Rule(
            "file_in_patient_folder",
            "every image lies in <class>/<patient>/, so that its patient is known",
            "move the images to their patient's folder in the source and run ingest again",
            "files",
            "misplaced",
        ),
        Rule(
            "file_name_unique",
            "no two paths differ only in case or in the form of an accent",
            "rename or remove one of the two in the source and run ingest again",
            "files",
            "same_name_as",
        ),
        Rule(
            "image_size",
            f"every usable image is {config.image_px} x {config.image_px} px",
            "this is a bug: such images should have been quarantined",
            "images",
            "size_px",
            "ExpectColumnValuesToBeInSet",
            {"value_set": [_size(config.image_px, config.image_px)]},
        ),
        Rule(
            "no_image_twice_in_a_patient",
            "every usable image is in its patient once",
            "this is a bug: the second should have been quarantined",
            "images",
            "same_pixels_before",
        ),
        Rule(
            "no_look_alike_in_two_patients",
            "no two patients have images that look the same: one may be the other's copy, saved again",
            f"look at both, and exclude one in {paths.EXCLUDE} if it is a copy; until then their patients share a fold",
            "images",
            "look_alike_elsewhere",
            stops=False,
        ),
        Rule(
            "no_look_alike_in_a_patient",
            "no two images of a patient look the same: the second adds nothing",
            f"exclude all but one of them in {paths.EXCLUDE} if they are copies",
            "images",
            "look_alike_before",
            stops=False,
        ),
        Rule(
            "colour_as_others",
            f"no patient's median colour is more than {limits.max_deviation:g} robust standard deviations from the cohort's",
            f"look at the patient's images: another stain, white balance or scanner? Exclude the patient in {paths.EXCLUDE}, "
            "or keep in mind that a network may learn it",
            "patients",
            "colour_deviation",
            between,
            {"max_value": limits.max_deviation},
            stops=False,
        ),
        Rule(
            "sharpness_as_others",
            f"no patient's median sharpness is more than {limits.max_deviation:g} robust standard deviations from the cohort's",
            f"look at the patient's images: out of focus, or enlarged? Exclude the patient in {paths.EXCLUDE} if so",
            "patients",
            "sharpness_deviation",
            between,
            {"max_value": limits.max_deviation},
            stops=False,
        ),
        Rule(
            "images_as_listed",
            "every patient has as many image files as the cohort's metadata says",
            "find out which is right; complete the source and run ingest again, or correct the metadata",
            "listed patients",
            "images_differ",
            stops=False,
        ),
    ]


def tables(frame: pd.DataFrame, listed: pd.DataFrame, config: Config) -> dict[str, pd.DataFrame]:
    """The tables that the rules look at, of a whole manifest and of data/patients.csv.

    Text columns are empty (null) where all is well.
    """
    files = manifest.not_excluded(frame)
    usable = manifest.usable(frame)
    counted = manifest.without_litter(files)
    return {
        "files": _files(counted),
        "images": _images(usable),
        "patients": _patients(files),
        "listed patients": _listed(frame, _in_question(files, listed)),
        "expected classes": _expected(frame, config.validate_.expected or {}),
        "folders": pd.DataFrame({"folder": pd.Series(sorted(set(files["class"]) - {""}), dtype="str")}),
        "classes": class_counts(frame, config.classes),
        "cohort": pd.DataFrame(
            {
                "files": [f"{int((counted['error'] != '').sum()):,} of {len(counted):,} files"],
                "quarantined_share": [float((counted["error"] != "").mean()) if len(counted) else 0.0],
            }
        ),
    }


def class_counts(frame: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Per class: patients with usable images, usable images, files, and how many of them are quarantined."""
    usable = manifest.usable(frame).groupby("class")
    files = frame.groupby("class").size().reindex(classes, fill_value=0)
    counts = pd.DataFrame(
        {
            "patients": usable["patient"].nunique().reindex(classes, fill_value=0),
            "images": usable.size().reindex(classes, fill_value=0),
            "files": files,
        }
    )
    counts["quarantined"] = counts["files"] - counts["images"]
    return counts.astype("int64").rename_axis("class").reset_index()


def _files(files: pd.DataFrame) -> pd.DataFrame:
    lone = (files["patient"] == "") & files["path"].map(manifest.is_image_name)
    first = files.groupby(files["path"].map(manifest.folded), sort=False)["path"].transform("first")
    return pd.DataFrame(
        {
            "path": files["path"],
            "misplaced": pd.Series("not in <class>/<patient>/", files.index, dtype="str").where(lone),
            "same_name_as": first.where(first != files["path"]),
        }
    )


def _images(usable: pd.DataFrame) -> pd.DataFrame:
    owner = usable["class"] + "/" + usable["patient"]
    twin = _elsewhere(usable, owner, "pixels_sha256")
    return pd.DataFrame(
        {
            "path": usable["path"],
            "size_px": [_size(w, h) for w, h in zip(usable["width"], usable["height"], strict=True)],
            "same_pixels_elsewhere": twin,
            "same_pixels_before": _before(usable, owner, "pixels_sha256"),
            "look_alike_elsewhere": _elsewhere(usable, owner, "look_alike").where(twin.isna()),
            "look_alike_before": _before(usable, owner, "look_alike"),
        }
    )


def _elsewhere(usable: pd.DataFrame, owner: pd.Series[str], column: str) -> pd.Series[str]:
    """For each image the path of one with the same `column` in another patient, null where there is none."""
    alike = usable[column].where(usable[column] != "")
    paths_of, owners_of = usable["path"].groupby(alike, sort=False), owner.groupby(alike, sort=False)
    # a patient's rows stand together: if the first of the alike is the patient's own, the last is not, or none is
    other = paths_of.transform("first").where(owners_of.transform("first") != owner, paths_of.transform("last"))
    return other.where(owners_of.transform("nunique") > 1)


def _before(usable: pd.DataFrame, owner: pd.Series[str], column: str) -> pd.Series[str]:
    """For each image the path of the patient's first one with the same `column`, null for the first itself."""
    alike = usable[column].where(usable[column] != "")
    first = usable.groupby([owner, alike], sort=False)["path"].transform("first")
    return first.where(first != usable["path"])


def _patients(files: pd.DataFrame) -> pd.DataFrame:
    known = files[files["patient"] != ""]
    by_patient = known.groupby("patient", sort=False)
    classes = by_patient["class"].agg(lambda names: ", ".join(sorted(set(names)))).astype("str")
    medians = manifest.usable(known).groupby("patient")[[*manifest.COLOURS, "sharpness"]].median()
    deviations = medians.apply(_deviations).reindex(classes.index)
    return pd.DataFrame(
        {
            "several_classes": classes.where(by_patient["class"].nunique() > 1),
            "images": by_patient["error"].agg(lambda errors: int((errors == "").sum())).astype("int64"),
            "colour_deviation": deviations[list(manifest.COLOURS)].max(axis="columns"),
            "sharpness_deviation": deviations["sharpness"],
        }
    ).reset_index()


def _deviations(values: pd.Series[float]) -> pd.Series[float]:
    """Distance from the median in robust standard deviations: 1.4826 times the median distance, that of a normal."""
    distance = (values - values.median()).abs()
    spread = 1.4826 * distance.median()
    return distance / spread if spread > 0 else distance * 0.0


def _in_question(files: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """The listed patients whom nobody excluded as a whole."""
    kept = files[["class", "patient"]].drop_duplicates()
    return listed.merge(kept, on=["class", "patient"])


def _listed(frame: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    there = frame[frame["path"].map(manifest.is_image_name)].groupby(["class", "patient"]).size().rename("there")
    said = listed[(listed["class_listed"] != "") | (listed["images_listed"] != "")]
    rows = said.merge(there.reset_index(), on=["class", "patient"], how="left").fillna({"there": 0})
    other_class = (rows["class_listed"] != "") & (rows["class_listed"] != rows["class"])
    other_number = (rows["images_listed"] != "") & (pd.to_numeric(rows["images_listed"]) != rows["there"])
    class_text = "in " + rows["class"] + ", listed as " + rows["class_listed"]
    number_text = rows["there"].astype("int64").astype("str") + " files, " + rows["images_listed"] + " listed"
    return pd.DataFrame(
        {
            "patient": rows["patient"],
            "class_differs": class_text.where(other_class),
            "images_differ": number_text.where(other_number),
        }
    )


def _expected(frame: pd.DataFrame, expected: Mapping[str, Counts]) -> pd.DataFrame:
    by_class = frame[frame["path"].map(manifest.is_image_name)].groupby("class")
    images, patients = by_class.size(), by_class["patient"].nunique()
    rows = []
    for name, counts in expected.items():
        here = (int(patients.get(name, 0)), int(images.get(name, 0)))
        same = here == (counts.patients, counts.images)
        found = f"{here[0]} patients, {here[1]:,} image files; expected {counts.patients} and {counts.images:,}"
        rows.append((name, None if same else found))
    return pd.DataFrame(rows, columns=pd.Index(["class", "differs"]), dtype="str")


def _size(width: int, height: int) -> str:
    return f"{width} x {height}"
