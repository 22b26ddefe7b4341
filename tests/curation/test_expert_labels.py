"""A stand-in of SCEMILA's table, with its columns, beside a ranking that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.common.errors import DataError
from pipeline.curation import expert_labels

HEADER = ",mll_annotation,prediction,ID,im_tiffname\n"
ROWS = [
    ("typical lymphocyte", "UVT", "000.TIF"),
    ("neutrophil granulocyte (segmented)", "UVT", "001.TIF"),
    ("myeloblast", "UVT", "010.TIF"),
    ("atypical promyelocyte, bilobed", "UVT", "011.TIF"),
    ("ambiguous", "UVT", "003.TIF"),
    ("myeloblast", "ZZZ", "000.TIF"),  # of a patient who is not here
    ("cup-like blast", "BHS", "002.TIF"),
]
IMAGES = pd.DataFrame(
    {
        "path": [f"NPM1/UVT/image_{n}.tif" for n in (0, 1, 3, 10, 11)] + ["NPM1/BHS/image_2.tif"],
        "patient": ["UVT"] * 5 + ["BHS"],
        "logit": [-2.0, 1.0, 0.0, 0.5, 2.0, 1.0],
        "flagged": [True, False, True, True, False, False],
    }
)


def table(rows: list[tuple[str, str, str]], header: str = HEADER) -> Path:
    lines = [f'{n},"{label}",myeloblast,{who},{name}\n' for n, (label, who, name) in enumerate(rows)]
    Path("annotations.csv").write_text(header + "".join(lines))
    return Path("annotations.csv")


def test_the_ranking_is_judged_by_the_cells_that_are_one_or_the_other(here: Path) -> None:
    labels = expert_labels.read(table(ROWS), IMAGES["path"], False)
    assert labels["NPM1/UVT/image_10.tif"] == "leukaemic"
    found = expert_labels.scored(IMAGES, labels).set_index("patient")
    own = found.loc["UVT"]
    assert own[["healthy", "leukaemic", "open", "flagged"]].tolist() == [2, 2, 1, 2]
    assert own["auroc"] == 0.75  # of four pairs one, 1.0 against 0.5, is in the wrong order
    assert (own["precision"], own["recall"]) == (0.5, 0.5)
    assert found.loc["BHS", ["auroc", "precision", "recall"]].isna().all()


WRONG = [
    ([("blob", "UVT", "000.TIF")], HEADER, "line 2: 'blob' is no label that is known here"),
    ([("myeloblast", "UVT", "first.TIF")], HEADER, "line 2: 'first.TIF' is no image's name"),
    ([*ROWS[:1], ("myeloblast", "uvt", "0.TIF")], HEADER, "line 3: NPM1/UVT/image_0.tif has another label above"),
    (ROWS[5:6], HEADER, "labels no usable image of this cohort"),
    (ROWS, HEADER.replace("ID", "pseudonym"), "has no column ID; it must have mll_annotation, ID, im_tiffname"),
]


@pytest.mark.parametrize(("rows", "header", "said"), WRONG)
def test_what_is_wrong_is_one_line(here: Path, rows: list[tuple[str, str, str]], header: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"annotations\.csv:? {said}"):
        expert_labels.read(table(rows, header), IMAGES["path"], False)


def test_a_table_that_is_not_there_is_to_be_brought(here: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: not there; bring it from github\.com/marrlab/SCEMILA"):
        expert_labels.read(Path("none.csv"), IMAGES["path"], False)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"ID,{HEADER[1:]}BHS,myeloblast,p,UVT,000.TIF\n")
    with pytest.raises(DataError, match=r"t\.csv: has the column ID twice"):
        expert_labels.read(table, IMAGES["path"], False)


def test_the_mean_is_never_surer_than_so_few_patients_can_make_it() -> None:
    def bounds(*aurocs: float) -> tuple[float, float]:
        found = expert_labels.mean_auroc(pd.DataFrame({"auroc": aurocs}), 0.95)
        return found.low, found.high

    assert bounds(1, 1, 1, 1) == (pytest.approx(0.025 ** (1 / 4)), 1)
    assert bounds(1, 1, 1, 1, np.nan) == bounds(1, 1, 1, 1), "who has none doesn't count"
    assert bounds(0, 0, 0, 0) == (0, pytest.approx(1 - 0.025 ** (1 / 4)))
    assert bounds(1, 1, 1, 0.999)[0] == pytest.approx(0.025 ** (1 / 4))
    low, high = bounds(0.8, 0.8, 0.8)
    assert low < 0.6 < 0.8 < high < 1
    assert bounds(0.5, 0.9, 0.7) == (pytest.approx(0.7 - 4.3027 * 0.2 / 3**0.5, abs=1e-3), 1)  # Student's t
    assert np.isnan(bounds(0.9)).all(), "of one patient nothing is known"
