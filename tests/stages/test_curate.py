"""From a cohort to the page, and from what was exported there to data/review.csv."""

from __future__ import annotations

import re
from pathlib import Path

import bag_cohort
import numpy as np
import pandas as pd
import pytest
from bag_cohort import ENCODER, SUBTYPE
from PIL import Image

from pipeline.common import config, files, paths
from pipeline.common.errors import ConfigError, DataError
from pipeline.curation import review
from pipeline.stages import curate

SUSPECT = {"encoder": ENCODER, "images_per_patient": 20, "penalty": 0.01, "inner_folds": 3}
HEADER = "path,patient,decision,reviewer,date\n"


@pytest.fixture
def settings(here: Path) -> config.Config:
    """A cohort as vectors, with a small image a file."""
    bag_cohort.cohort_files((6, 6))
    rng, parts = np.random.default_rng(0), []
    for name in ("control", SUBTYPE):
        rows = pd.read_parquet(paths.vector_rows(ENCODER, name)).assign(**{"class": name})
        for path in rows["path"]:
            (paths.RAW / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(paths.RAW / path)
        parts.append(rows)
    manifest = pd.concat(parts, ignore_index=True)
    numbers = {name: rng.uniform(20, 40, len(manifest)) for name in ("sharpness", "std_r", "std_g", "std_b")}
    manifest.assign(sha256=[files.sha256(paths.RAW / path) for path in manifest["path"]], **numbers).to_parquet(paths.MANIFEST)
    return bag_cohort.settings(here, suspect=SUSPECT, curate={"neighbours": 2, "shown": 2, "flagged_share": 0.5})


def export(*lines: str) -> Path:
    Path("export.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return Path("export.csv")


def test_the_page_shows_each_image_once_and_asks_nobody(settings: config.Config) -> None:
    curate.run(settings)
    page = (paths.CURATION / "index.html").read_text()
    shown = re.findall(r'data-path="([^"]+)"', page)
    assert len(shown) == len(set(shown)) > 30
    known = pd.read_parquet(paths.MANIFEST)
    assert set(shown) <= set(known["path"])
    assert set(known["patient"]) == {path.split("/")[1] for path in shown}
    assert page.count("data:image/jpeg;base64,") == len(shown)
    assert not re.findall(r"https?://", page)
    assert "default-src 'none'" in page
    assert all(f'data-says="{decision.replace(chr(39), "&#39;")}"' in page for decision in review.DECISIONS)
    ranking = pd.read_csv(paths.CURATION / "ranking.csv")
    assert len(ranking) == len(known)
    before = {file.name: file.read_bytes() for file in paths.CURATION.iterdir()}
    curate.run(settings)
    assert {file.name: file.read_bytes() for file in paths.CURATION.iterdir()} == before


def test_what_is_taken_is_in_git_once_and_the_page_says_how_two_agree(
    settings: config.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.REVIEW.write_text(HEADER)
    mine = export(
        f"{SUBTYPE}/P06/image_0.tif,P06,normal cell,Dr A,2026-01-31T10:00:00Z",
        f"{SUBTYPE}/P07/image_0.tif,P07,keep,Dr A,2026-01-31T10:00:01Z",
        f"{SUBTYPE}/P08/image_0.tif,P08,wrong patient,Dr A,2026-01-31T10:00:02Z",
    )
    curate.take(settings, mine, "")
    taken = paths.REVIEW.read_bytes()
    curate.take(settings, mine, "Dr A")
    assert paths.REVIEW.read_bytes() == taken, "taken twice it stands there once"
    theirs = export(f"{SUBTYPE}/P06/image_0.tif,P06,artefact,,2026-02-01", f"{SUBTYPE}/P07/image_0.tif,P07,keep,,2026-02-01")
    curate.take(settings, theirs, "Dr B")
    said = " ".join(capsys.readouterr().out.split())
    assert "of 3 images decided about, 1 are left out of the training and 1 out of everything" in said
    assert "Dr A and Dr B decided 1 of 2 images alike, of 2 patients; Cohen's kappa 0.33" in said
    curate.run(settings)
    page = (paths.CURATION / "index.html").read_text()
    assert "Dr A, Dr B" in page
    assert "1 of 2 (50%)" in page


WRONG = [
    (f"{SUBTYPE}/P06/image_0.tif,P06,blast,Dr A,2026-01-31", r"export\.csv line 3: 'blast' is no decision"),
    (f"{SUBTYPE}/P99/image_0.tif,P99,keep,Dr A,2026-01-31", r"export\.csv line 3: there is no image"),
    (f"{SUBTYPE}/P06/image_1.tif,P06,keep,Dr A,2026-01-30", r"export\.csv: Dr A decided 'keep' about .* before"),
    (
        f"{SUBTYPE}/P06/image_2.tif,P06,keep,dr a,2026-01-30",
        r"export\.csv: reviewer 'dr a' is spelled 'Dr A' in what",
    ),
]


@pytest.mark.parametrize(("line", "said"), WRONG)
def test_of_a_file_with_one_wrong_line_nothing_is_taken(settings: config.Config, line: str, said: str) -> None:
    paths.REVIEW.write_text(f"{HEADER}{SUBTYPE}/P06/image_1.tif,P06,artefact,Dr A,2026-01-30\n")
    before = paths.REVIEW.read_bytes()
    with pytest.raises(DataError, match=said):
        curate.take(settings, export(f"{SUBTYPE}/P07/image_0.tif,P07,keep,Dr B,2026-01-31", line), "")
    assert paths.REVIEW.read_bytes() == before
    assert not list(paths.REVIEW.parent.glob("*.unfinished"))


def test_what_cannot_be_done_is_one_line(settings: config.Config, here: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: not there; name the CSV that the page exported"):
        curate.take(settings, Path("none.csv"), "")
    with pytest.raises(DataError, match=r"ranking\.csv: not there; run `python -m pipeline curate` first"):
        curate.judge(settings, Path("none.csv"))
    with pytest.raises(ConfigError, match="there is no encoder theirs"):
        curate.run(bag_cohort.settings(here, suspect={**SUSPECT, "encoder": "theirs"}))


def test_experts_labels_are_held_against_the_ranking(settings: config.Config, capsys: pytest.CaptureFixture[str]) -> None:
    """A stand-in of the published table, with its columns: leukaemic where the drawn vectors are."""
    curate.run(settings)
    rows = pd.read_parquet(paths.vector_rows(ENCODER, SUBTYPE))
    leukaemic = np.load(paths.vectors(ENCODER, SUBTYPE))[:, 0] > 2.5
    numbers = rows["path"].str.extract(r"image_(\d+)")[0].astype(int)
    table = pd.DataFrame(
        {
            "mll_annotation": np.where(leukaemic, "myeloblast", "typical lymphocyte"),
            "prediction": "myeloblast",
            "ID": rows["patient"],
            "im_tiffname": [f"{number:03}.TIF" for number in numbers],
        }
    )
    table.to_csv("annotations.csv")
    curate.judge(settings, Path("annotations.csv"))
    found = pd.read_csv(paths.CURATION / "truth.csv")
    assert found[["healthy", "leukaemic"]].to_numpy().sum() == len(rows)
    assert found["auroc"].mean() > 0.9
    assert found["precision"].mean() > 0.9
    assert f"{len(rows)} labelled images; mean AUROC over patients" in capsys.readouterr().out
