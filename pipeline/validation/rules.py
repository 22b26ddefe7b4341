"""What a cohort must satisfy before anything is trained on it.

Each rule is about one column of one table of `tables` and names its offenders by the table's first column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.common import paths
from pipeline.common.config import Config
from pipeline.validation import rule_tables


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
    look: bool = False  # at the offenders' images, to judge them: the page shows some


def of(config: Config, batches: bool) -> list[Rule]:
    """The rules, gravest first; `batches`: whether the metadata says of every patient which, and there are several."""
    limits = config.validate_
    told_apart = (
        "the audit asks whether vectors lie together by the metadata's `batch`"
        if batches
        else "a column `batch` (site, scanner or day of staining) in the cohort's metadata would let the audit tell"
    )
    between = "ExpectColumnValuesToBeBetween"
    mend = f"complete the source and run `dvc repro` again, or exclude them in {paths.EXCLUDE}"
    return [
        Rule(
            "patient_spelled_once",
            "no two patients have names that differ only in case, in the form of an accent or in blanks",
            "if they are one patient, put the images in one folder of the source; if not, rename one; "
            "then run `dvc repro` again",
            "patients",
            "spelled_apart",
        ),
        Rule(
            "patient_told_apart",
            "no two patients have names that look the same: wide letters, other alphabets, kinds of hyphens, dots at the end",
            "if they are one patient, put the images in one folder of the source; if not, rename one; "
            "then run `dvc repro` again",
            "patients",
            "drawn_alike",
        ),
        Rule(
            "no_image_in_two_patients",
            "no two patients share an image: identical pixels may end up in training and test",
            f"find out whose image it is and exclude the other, or both, in {paths.EXCLUDE}",
            "images",
            "same_pixels_elsewhere",
            look=True,
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
            "listed classes",
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
            "complete the source and run `dvc repro` again, or take the class out of params.yaml",
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
            "patient_has_images",
            "of every patient who was delivered some image can be used",
            f"mend what is said of the patient and run `dvc repro` again, or exclude the patient in {paths.EXCLUDE}",
            "patients",
            "without_images",
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
            "move the images to their patient's folder in the source and run `dvc repro` again",
            "files",
            "misplaced",
        ),
        Rule(
            "file_name_unique",
            "no two paths differ only in case, in the form of an accent or in blanks",
            "rename or remove one of the two in the source and run `dvc repro` again",
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
            {"value_set": [rule_tables.size(config.image_px, config.image_px)]},
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
            look=True,
        ),
        Rule(
            "no_look_alike_in_a_patient",
            "no two images of a patient look the same: the second adds nothing",
            f"exclude all but one of them in {paths.EXCLUDE} if they are copies",
            "images",
            "look_alike_before",
            stops=False,
            look=True,
        ),
        Rule(
            "saved_without_loss",
            "no image was saved as JPEG: that changes its pixels, most where a network may look, and differs between sources",
            "take the originals as TIFF or PNG where there are any; if one class alone is JPEG, a network may learn that",
            "images",
            "lossy",
            stops=False,
        ),
        Rule(
            "patient_named_apart",
            "no two patients have names that differ only in accents, leading zeros, separators, or 0 and O",
            "look whether they are one patient: if so, put the images in one folder of the source and run `dvc repro` again",
            "patients",
            "named_alike",
            stops=False,
        ),
        Rule(
            "colour_as_others",
            f"no patient's median colour is more than {limits.max_deviation:g} robust standard deviations from the cohort's",
            f"look at the patient's images: another stain, white balance or scanner? Exclude the patient in {paths.EXCLUDE}, "
            f"or keep in mind that a network may learn it; {told_apart}",
            "patients",
            "colour_deviation",
            between,
            {"max_value": limits.max_deviation},
            stops=False,
            look=True,
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
            look=True,
        ),
        Rule(
            "images_as_listed",
            "every patient has as many image files as the cohort's metadata says",
            "find out which is right; complete the source and run `dvc repro` again, or correct the metadata",
            "listed numbers of images",
            "images_differ",
            stops=False,
        ),
    ]
