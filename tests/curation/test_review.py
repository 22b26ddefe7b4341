"""What persons decide is read strictly, merged whole, and an image loses only what all who have an opinion would take."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.common.errors import DataError
from pipeline.curation import agreement, review

HEADER = "path,patient,decision,reviewer,date\n"
KNOWN = {f"{who}/image_{n}.tif" for who in ("NPM1/AAA", "NPM1/BBB", "control/CCC") for n in range(11)}


def read(text: str, reviewer: str = "", pseudonyms: bool = False) -> list[review.Decision]:
    Path("review.csv").write_text(text, encoding="utf-8")
    return review.read(Path("review.csv"), KNOWN, pseudonyms, reviewer)


def line(path: str, decision: str, reviewer: str = "Dr A", date: str = "2026-01-31") -> str:
    return f"{path},{path.split('/')[1]},{decision},{reviewer},{date}\n"


def test_a_table_that_is_not_there_says_nothing(here: Path) -> None:
    assert review.read(here / "none.csv", KNOWN, False) == []


def test_what_a_spreadsheet_makes_of_the_file_is_read(here: Path) -> None:
    plain = read(HEADER + line("NPM1/AAA/image_1.tif", "can't say"))
    saved = "\ufeffpath;patient;decision;reviewer;date\r\nNPM1/AAA/image_1.tif;aaa;Can’t say;Dr A;2026-01-31\r\n;;;;\r\n"
    (found,) = read(saved)
    assert [found.path, found.decision] == [plain[0].path, plain[0].decision]
    assert read(saved.replace("Dr A", ""), reviewer="Dr A")[0].reviewer == "Dr A"


WRONG = {
    "": "line 1: must be path,patient,decision,reviewer,date",
    HEADER + "NPM1/AAA/image_1.tif,AAA,keep,Dr A\n": "line 2: has 4 columns, not 5",
    HEADER + line("NPM1/AAA/image_1.tif", "blast"): "line 2: 'blast' is no decision; write one of: keep, normal cell",
    HEADER + line("NPM1/AAA/image_77.tif", "keep"): r"line 2: there is no image 'NPM1/AAA/image_77\.tif' in the cohort",
    HEADER + "NPM1/AAA/image_1.tif,BBB,keep,Dr A,2026-01-31\n": "line 2: NPM1/AAA/image_1.tif is an image of patient AAA, not",
    HEADER + line("NPM1/AAA/image_1.tif", "keep", reviewer=""): "line 2: names no reviewer",
    HEADER + line("NPM1/AAA/image_1.tif", "keep", date="31.1.2026"): "line 2: '31.1.2026' is no date",
    HEADER + line("NPM1/AAA/image_1.tif", "keep", date="2026-02-30"): "line 2: '2026-02-30' is no date",
    HEADER + line("NPM1/AAA/image_1.tif", "keep") + line("NPM1/AAA/image_1.tif", "artefact"): (
        r"line 3: Dr A decided 'keep' about NPM1/AAA/image_1\.tif at the same time"
    ),
    HEADER + line("NPM1/AAA/image_1.tif", "keep") + line("NPM1/AAA/image_2.tif", "keep", "dr a"): (
        "line 3: reviewer 'dr a' is spelled 'Dr A' above"
    ),
    HEADER + '"x\n': "not a CSV table",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_a_wrong_line_is_named(here: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"review\.csv:? ?{said}"):
        read(text)


def test_a_line_that_fits_nothing_is_not_quoted_where_patients_have_pseudonyms(here: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: fits no image of the cohort; ingest\.pseudonyms is on") as caught:
        read(HEADER + line("NPM1/Miller/image_1.tif", "keep"), pseudonyms=True)
    assert "Miller" not in str(caught.value)


def test_one_persons_file_is_not_taken_for_anothers(here: Path) -> None:
    with pytest.raises(DataError, match="line 2: is Dr A's decision, not Dr B's"):
        read(HEADER + line("NPM1/AAA/image_1.tif", "keep"), reviewer="Dr B")


# What the reviewers say of an image, by date; whether it is left out of the training, and out of everything.
CASES = [
    ("NPM1", ["A normal cell"], (True, False)),
    ("NPM1", ["A artefact"], (True, False)),
    ("NPM1", ["A wrong patient"], (False, True)),
    ("NPM1", ["A keep"], (False, False)),
    ("NPM1", ["A can't say"], (False, False)),
    ("NPM1", ["A normal cell", "A keep"], (False, False)),  # the latest of one reviewer
    ("NPM1", ["A keep", "A artefact"], (True, False)),
    ("NPM1", ["A normal cell", "B artefact"], (True, False)),
    ("NPM1", ["A artefact", "B keep"], (False, False)),  # who keeps, decides
    ("NPM1", ["A wrong patient", "B artefact"], (True, False)),  # what both would take
    ("NPM1", ["A wrong patient", "B keep"], (False, False)),
    ("NPM1", ["A wrong patient", "B can't say"], (False, True)),
    ("control", ["A normal cell"], (False, False)),  # as its label says
    ("control", ["A artefact", "B normal cell"], (False, False)),
    ("control", ["A wrong patient"], (False, True)),
]


@pytest.mark.parametrize(("class_name", "said", "expected"), CASES)
def test_the_mildest_of_all_who_have_an_opinion_counts(
    here: Path, class_name: str, said: list[str], expected: tuple[bool, bool]
) -> None:
    path = f"{class_name}/{'CCC' if class_name == 'control' else 'AAA'}/image_1.tif"
    lines = [line(path, text[2:], f"Dr {text[0]}", f"2026-01-{n + 1:02}T10:00:00Z") for n, text in enumerate(said)]
    decisions = read(HEADER + "".join(reversed(lines)))
    assert (bool(review.left_out(decisions, "control")), bool(review.of_wrong_patients(decisions, "control"))) == expected


def test_what_is_taken_twice_stands_once_and_the_order_is_that_of_the_images(here: Path) -> None:
    first = read(HEADER + line("NPM1/AAA/image_10.tif", "keep") + line("NPM1/AAA/image_2.tif", "keep", "Dr B"))
    merged = review.merged(first, first, "export.csv")
    assert [one.path for one in merged] == ["NPM1/AAA/image_2.tif", "NPM1/AAA/image_10.tif"]
    assert read(review.text(merged)) == merged
    other = read(HEADER + line("NPM1/AAA/image_10.tif", "artefact"))
    with pytest.raises(DataError, match=r"export.csv: Dr A decided 'artefact' about NPM1/AAA/image_10.tif, and at the same"):
        review.merged(first, other, "export.csv")


def agreeing(pairs: list[tuple[str, str]], patients: int = 3) -> agreement.Agreement:
    both = {f"NPM1/P{n % patients}/image_{n}.tif": {"A": one, "B": two} for n, (one, two) in enumerate(pairs)}
    (found,) = agreement.of_all({**both, "NPM1/P0/alone.tif": {"A": "keep"}}, 0.95)
    return found


def test_kappa_is_what_it_is_by_hand() -> None:
    """20 alike of 30; A keeps 15, B 15: chance 1/2, kappa (2/3 - 1/2) / (1/2)."""
    found = agreeing([("keep", "keep")] * 10 + [("artefact", "artefact")] * 10
                     + [("keep", "artefact")] * 5 + [("artefact", "keep")] * 5)  # fmt: skip
    assert (found.images, found.patients, found.alike) == (30, 3, 20)
    assert found.kappa.value == pytest.approx(1 / 3)
    assert found.kappa.low < 1 / 3 < found.kappa.high


def test_few_images_decided_alike_are_no_proof_and_one_answer_alone_no_kappa() -> None:
    alike = agreeing([("keep", "keep"), ("artefact", "artefact")] * 3)
    assert (alike.kappa.value, alike.kappa.high) == (1, 1)
    assert alike.kappa.low < 0.5
    assert agreeing([("keep", "keep")] * 6).shown == "cannot be told: both always said one and the same"
    assert not agreeing([("keep", "keep"), ("artefact", "keep")] * 3, patients=1).kappa.known
    same = [one for one in (("keep", "keep"), ("artefact", "artefact"), ("keep", "artefact")) for _ in range(2)]
    assert agreeing(same, patients=2).shown == "0.40, without bounds: too few patients", "two who spread alike by chance"
