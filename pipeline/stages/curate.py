"""Find the images that a person had best look at, beside the DAG: reports/curation/.

Writes ranking.csv, a row an image, and index.html, on which a person decides with keys and exports a CSV. `take` merges that
into data/review.csv, the only store of such decisions, which `validate` and `weigh` honour. `judge` holds the ranking against
experts' labels. Nothing here is trained on, and no figure of the report rests on it.
"""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

from pipeline.bags import patients
from pipeline.common import console, files, made, paths, selection
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.curation import agreement, expert_labels, ranking, review
from pipeline.images import reading
from pipeline.pages import curation_page

RANKING, PAGE, TRUTH = (paths.CURATION / name for name in ("ranking.csv", "index.html", "truth.csv"))
_OF_MANIFEST = ["path", "sha256", "sharpness", "std_r", "std_g", "std_b"]
_DECIMALS = 4


def run(config: Config) -> None:
    """Rank everybody's images, and make the page.

    Raises:
        ConfigError: the encoder is not there.
        DataError: vectors are missing or do not fit the splits, or review.csv names what is not there.
    """
    began = time.monotonic()
    files.require_writable(paths.CURATION)
    encoder = config.suspect.encoder
    selection.encoders(config, encoder)
    decisions = review.latest(_decided(config))
    manifest = made.table(paths.MANIFEST, columns=_OF_MANIFEST)
    of_subtypes = {subtype: patients.read(config, subtype, encoder, fold=0) for subtype in config.subtypes}
    images = ranking.table(config, of_subtypes, manifest.drop(columns="sha256"))
    shown = list(ranking.shown(images, config.curate.shown))
    digests = manifest.set_index("path")["sha256"]
    pixels = (
        (path, reading.pixels(paths.RAW / path, digests[path]))
        for _, chosen in shown
        for path in console.track(chosen["path"], len(chosen), "reading images")
    )
    page = curation_page.render(
        cohort=config.ingest.cohort,
        control=config.control,
        demo=config.ingest.source == "demo",
        shown=shown,
        pictures={path: curation_page.picture(own) for path, own in pixels},
        counted=review.counts(decisions),
        agreements=agreement.of_all(decisions, config.evaluate.confidence),
    )
    files.write(RANKING, images.round(_DECIMALS).to_csv(index=False, lineterminator="\n"))
    files.write(PAGE, page)
    for question, chosen in shown:
        console.say(f"curate: {len(chosen):,} images of {chosen['patient'].nunique()} patients: {ranking.QUESTIONS[question]}")
    console.say(f"curate: {PAGE}, {console.duration(time.monotonic() - began)}; decide there, export, and `curate --take FILE`")


def take(config: Config, file: Path, reviewer: str) -> None:
    """Merge the decisions of a file into data/review.csv: all of them, or none.

    Raises:
        DataError: names the file's first line that is wrong.
    """
    if not file.is_file():
        raise DataError(f"{file}: not there; name the CSV that the page exported")
    files.require_writable(paths.REVIEW)
    before, known = _decided(config), _known()
    new = review.read(file, known, config.ingest.pseudonyms, reviewer)
    merged = review.merged(before, new, str(file))
    files.write(paths.REVIEW, review.text(merged))
    decisions = review.latest(merged)
    console.say(f"curate: {file}: {len(new):,} decisions, {len(merged) - len(before):,} of them new, in {paths.REVIEW}")
    console.say(
        f"curate: of {len(decisions):,} images decided about, {len(review.left_out(merged, config.control)):,} are left out of "
        f"the training and {len(review.of_wrong_patients(merged, config.control)):,} out of everything; `dvc repro` honours it"
    )
    for one in agreement.of_all(decisions, config.evaluate.confidence):
        console.say(
            f"curate: {' and '.join(one.reviewers)} decided {one.alike:,} of {one.images:,} images alike, of {one.patients} "
            f"patients; Cohen's kappa {one.shown}"
        )


def judge(config: Config, table: Path) -> None:
    """Hold the ranking against experts' labels of single cells.

    Raises:
        DataError: names the table's line that is wrong, or says that there is no ranking yet.
    """
    if not RANKING.is_file():
        raise DataError(f"{RANKING}: not there; run `python -m pipeline curate` first")
    images = pd.read_csv(RANKING, dtype={"path": "str", "patient": "str", "class": "str"}, keep_default_na=False)
    images["flagged"] = ranking.flagged(images, config.curate.flagged_share)
    labels = expert_labels.read(table, images["path"], config.ingest.pseudonyms)
    found = expert_labels.scored(images, labels)
    files.write(TRUTH, found.round(_DECIMALS).to_csv(index=False, lineterminator="\n"))
    console.table(
        f"experts' labels: the {config.curate.flagged_share:.0%} of a patient's images that look healthiest",
        ["patient", "healthy", "leukaemic", "open", "AUROC", "precision", "recall"],
        [
            [patient, *counts, *(f"{value:.2f}" for value in figures)]
            for patient, counts, figures in zip(
                found["patient"],
                found[["healthy", "leukaemic", "open"]].to_numpy().tolist(),
                found[["auroc", "precision", "recall"]].to_numpy().tolist(),
                strict=True,
            )
        ],
    )
    mean = expert_labels.mean_auroc(found, config.evaluate.confidence)
    console.say(f"curate: {len(labels):,} labelled images; mean AUROC over patients {mean:.2f}; {TRUTH}")


def _known() -> set[str]:
    return set(made.table(paths.MANIFEST, columns=["path"])["path"])


def _decided(config: Config) -> list[review.Decision]:
    return review.read(paths.REVIEW, _known(), config.ingest.pseudonyms)
