"""A published dealing in place of our own, as `split.file` names it: both forms, and what is wrong with a file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT, write_params
from report_cohort import audit_file, cohort_files
from ruamel.yaml import YAML

from pipeline.common import config, paths
from pipeline.common.errors import ConfigError, DataError, LeakError
from pipeline.evaluation import published_protocols
from pipeline.evaluation.figures import Interval
from pipeline.pages import protocol
from pipeline.stages import deal, evaluate, report, split

Settings = Callable[[dict[str, Any]], config.Config]
SUBTYPES = ["NPM1", "PML_RARA"]
FILE = "data/protocols/theirs.csv"
NETWORK = {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}
BY_FOLDS = {
    "subtypes": SUBTYPES,
    "candidates.published.networks": dict.fromkeys(SUBTYPES, NETWORK),
    "split.n_folds": 3,
    "split.file": FILE,
}
BY_ROLES = {**BY_FOLDS, "folds": [0]}
PATIENTS = {name: [f"{name[0]}{number:02}" for number in range(9)] for name in ("control", *SUBTYPES)}
EVERYBODY = [who for own in PATIENTS.values() for who in own]
FOLDS = [(who, str(number % 3)) for own in PATIENTS.values() for number, who in enumerate(own)]
ROLES = [(who, ["test", "train", "train"][number % 3]) for own in PATIENTS.values() for number, who in enumerate(own)]


@pytest.fixture(autouse=True)
def _here(here: Path) -> None:
    (here / "data/protocols").mkdir(parents=True)


def manifest(alike: tuple[str, ...] = (), unusable: tuple[str, ...] = (), spelled: dict[str, str] | None = None) -> None:
    """One image a patient; those of `alike` look the same."""
    rows = [
        (f"{name}/{who}/image_1.tif", name, (spelled or {}).get(who, who), who, "picture" if who in alike else "",
         "excluded by hand: moved" if who in unusable else "")
        for name, own in PATIENTS.items()
        for who in own
    ]  # fmt: skip
    columns = ["path", "class", "patient", "pixels_sha256", "look_alike", "error"]
    pd.DataFrame(rows, columns=columns).to_parquet("data/manifest.parquet")


def write(rows: list[tuple[str, str]], column: str = "fold", form: str = "{},{}\n") -> None:
    lines = [("patient", column), *rows]
    Path(FILE).write_text("".join(form.format(*line) for line in lines), encoding="utf-8", newline="")


def dealt() -> dict[str, int]:
    """Everybody's fold, the same in both splits."""
    found: dict[str, int] = {}
    for name in SUBTYPES:
        table = pd.read_csv(f"data/splits/{name}.csv", dtype={"patient": "str"})
        for who, fold in zip(table["patient"], table["fold"], strict=True):
            assert found.setdefault(who, fold) == fold
    return found


def test_everybody_is_in_the_fold_that_the_file_says(params: Settings) -> None:
    manifest()
    write(FOLDS)
    split.run(params(BY_FOLDS))
    assert dealt() == {who: int(fold) for who, fold in FOLDS}
    said = json.loads(Path("data/splits/protocol.json").read_text())
    assert (said["name"], said["form"], said["val_dealt"]) == ("theirs", "fold", 0)


def test_roles_are_folds_of_which_one_is_trained_and_who_validates_is_dealt_from_train(
    params: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest(alike=("N01", "N02", "N04"))
    write(ROLES, "role")
    split.run(params(BY_ROLES))
    found = dealt()
    assert {who for who, fold in found.items() if fold == 0} == {who for who, role in ROLES if role == "test"}
    for own in PATIENTS.values():
        assert {found[who] for who in own} == {0, 1, 2}
    assert len({found[who] for who in ("N01", "N02", "N04")}) == 1, "who share a picture do the same"
    assert "names nobody who validates" in capsys.readouterr().out
    split.run(params(BY_ROLES))
    assert dealt() == found
    manifest()
    write([(who, "val" if number % 9 == 1 else role) for number, (who, role) in enumerate(ROLES)], "role")
    split.run(params(BY_ROLES))
    assert [who for who, fold in dealt().items() if fold == 1] == ["c01", "N01", "P01"]


@pytest.mark.parametrize("form", ["{},{}\r\n", "{};{}\n", " {} , {} \n\n", '"{}","{}"\n', "\ufeff{},{}\n"])
def test_a_file_may_come_out_of_any_spreadsheet(params: Settings, form: str) -> None:
    manifest(spelled={"N00": "Mu\u0308ller", "P00": "strasse  1"})
    named = {"N00": "M\u00dcLLER", "P00": "STRA\u00dfE 1"}
    write([(named.get(who, who.lower()), fold) for who, fold in FOLDS], form=form.replace("\ufeff", ""))
    if form.startswith("\ufeff"):
        Path(FILE).write_bytes(b"\xef\xbb\xbf" + Path(FILE).read_bytes())
    split.run(params(BY_FOLDS))
    assert set(dealt().values()) == {0, 1, 2}


def test_who_is_excluded_here_may_stand_in_the_file(params: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(unusable=("N08",))
    write(FOLDS)
    split.run(params(BY_FOLDS))
    assert "N08" not in dealt()
    assert "1 of its patients have no usable image" in capsys.readouterr().out
    write(FOLDS[:-1])
    manifest(unusable=("P08",))
    split.run(params(BY_FOLDS))


def test_the_own_dealing_waits_for_the_day_it_counts_again(params: Settings) -> None:
    manifest()
    own = params({**BY_FOLDS, "split.file": None})
    deal.run(own)
    split.run(own)
    before, ledger = dealt(), Path("data/folds.csv").read_text()
    write(FOLDS)
    published = params(BY_FOLDS)
    deal.run(published)
    split.run(published)
    assert dealt() != before
    assert Path("data/folds.csv").read_text() == ledger
    own = params({**BY_FOLDS, "split.file": None})
    deal.run(own)
    split.run(own)
    assert dealt() == before
    assert not Path("data/splits/protocol.json").exists()


def test_a_leak_stays_an_error(params: Settings) -> None:
    manifest(alike=("N00", "N01"))
    write(FOLDS)
    with pytest.raises(LeakError, match="nearly the same picture in two folds"):
        split.run(params(BY_FOLDS))


def without(*names: str) -> list[tuple[str, str]]:
    return [row for row in FOLDS if row[0] not in names]


WRONG = {
    "unknown patient": ([*FOLDS, ("ZZZ", "0")], "fold", r"theirs.csv line 29: there is no patient 'ZZZ' in the cohort"),
    "twice": ([*FOLDS, ("n00", "0")], "fold", r"theirs.csv lines 11 and 29: both are of patient 'n00' \('N00' in the other\)"),
    "missing": (without("N03", "N04"), "fold", r"patient N03 of class NPM1 is not in it \(2 such\); add a line, or exclude"),
    "no such fold": ([*without("N00"), ("N00", "3")], "fold", r"line 28: patient 'N00' has the fold '3'; allowed: 0 to 2"),
    "a number beyond all": ([*without("N00"), ("N00", "9" * 5000)], "fold", r"'N00' has the fold '9{20}'; allowed: 0 to 2"),
    "no number": ([*without("N00"), ("N00", "one")], "fold", r"line 28: patient 'N00' has the fold 'one'; allowed: 0 to 2"),
    "no fold": ([*without("N00"), ("N00", "")], "fold", r"line 28: a patient and a fold are needed"),
    "no such role": ([*ROLES[:-1], ("P08", "dev")], "role", r"line 28: patient 'P08' has the role 'dev'; allowed: train, val"),
    "no test": ([(who, "train") for who in EVERYBODY], "role", r"class NPM1 has no patient with role test"),
    "an empty fold": ([(who, str(int(fold) % 2)) for who, fold in FOLDS], "fold", r"class NPM1 has no patient with fold 2,"),
    "no train": (
        [(who, "test" if who[0] == "P" else role) for who, role in ROLES], "role",
        r"class PML_RARA has 0 patients who train, and nobody who validates",
    ),
    "empty": ([], "fold", r"theirs.csv: has no patient"),
    "columns": (FOLDS, "group", r"its columns are patient, group; name them patient,fold or patient,role"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_file_is_said_in_one_line(params: Settings, what: str) -> None:
    rows, column, said = WRONG[what]
    manifest()
    write(rows, column)
    with pytest.raises(DataError, match=said) as raised:
        split.run(params(BY_FOLDS if column != "role" else BY_ROLES))
    assert r"\n" not in str(raised.value)
    assert not Path("data/splits").exists(), "nothing half-written"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"theirs.csv: not there; put the dealing there, or set split\.file: null"),
        (b"", r"theirs.csv: is empty"),
        ("patient,fold\nN00,0\n".encode("utf-16"), r"theirs.csv: not UTF-8"),
        ("patient,fold\nM\u00fcller,0\n".encode("latin-1"), r"theirs.csv: not UTF-8"),
        (b'patient,fold\n"N00,0\n', r"theirs.csv line 2: not CSV"),
        (b"patient,fold,role\nN00,0,test\n", r"its columns are patient, fold, role"),
    ],
)
def test_what_is_no_such_table_is_said_in_one_line(params: Settings, content: bytes | None, said: str) -> None:
    manifest()
    if content is not None:
        Path(FILE).write_bytes(content)
    with pytest.raises(DataError, match=said):
        split.run(params(BY_FOLDS))


def test_roles_need_one_network_and_a_file_a_place_that_dvc_sees(params: Settings) -> None:
    manifest()
    write(ROLES, "role")
    with pytest.raises(ConfigError, match=r"set split\.n_folds: 3 and folds: \[0\]"):
        split.run(params({**BY_FOLDS, "folds": [0, 1]}))
    with pytest.raises(ConfigError, match=r"split\.file: a \.csv file in data/protocols"):
        params({**BY_FOLDS, "split.file": "theirs.csv"})


def test_with_pseudonyms_a_name_of_nobody_is_not_quoted(params: Settings) -> None:
    manifest()
    write([*FOLDS, ("Smith", "0"), ("Smith", "0")])
    with pytest.raises(DataError, match=re.escape("line 29: is of nobody in the cohort")) as raised:
        split.run(params({**BY_FOLDS, "ingest.pseudonyms": True}))
    assert "Smith" not in str(raised.value)


def test_dvc_sees_the_file_change() -> None:
    assert str(paths.PROTOCOLS) in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["split"]["deps"]


def page(folder: Path, name: str) -> str:
    """The page of a tiny cohort whose patients were dealt by data/protocols/<name>.csv."""
    values = {
        "subtypes": SUBTYPES,
        "ingest.source": "folder",
        "candidates.published.networks": dict.fromkeys(SUBTYPES, NETWORK),
        "split.file": f"data/protocols/{name}.csv",
        "split.n_folds": 3,
        "evaluate.draws": 100,
    }
    settings = config.load(write_params(folder / "params.yaml", values))
    cohort_files(settings)
    tested = {"control": 4, **dict.fromkeys(SUBTYPES, 4)}
    said = {"name": name, "file": settings.split.file, "sha256": "ab" * 32, "form": "role",
            "tested": tested, "val_dealt": 6, "absent": 0}  # fmt: skip
    paths.PROTOCOL.write_text(json.dumps(said))
    evaluate.run(settings, SUBTYPES, ["published"])
    for subtype in SUBTYPES:
        audit_file(subtype)
    report.run(settings)
    return " ".join(re.sub("<[^>]+>", " ", paths.REPORT_PAGE.read_text().split("</style>")[1]).split())


def test_the_page_of_roles_speaks_of_no_folds_and_of_figures_that_cannot_be_compared(here: Path) -> None:
    text = page(here, "genbloom")
    assert "Published protocol: genbloom" in text
    assert "6 of its training patients were dealt to it here" in text
    assert "An interval about 0.83 of 43 patients reaches \u00b1 0.11 (95 %)" in text
    assert "The published test patients are others: control 13" in text
    assert "Balanced accuracy of five classes 0.83 \u2013 no call among all classes is made here" in text
    assert "Every patient has one role" in text
    assert "out of fold" not in text.lower().replace("-", " ")
    assert "fold k" not in text
    assert "Test*" in text
    paths.PROTOCOL.write_text(json.dumps({**json.loads(paths.PROTOCOL.read_text()), "file": "data/protocols/other.csv"}))
    with pytest.raises(DataError, match=r"is of data/protocols/other\.csv, split\.file names data/protocols/genbloom\.csv"):
        report.run(config.load(here / "params.yaml"))


def test_a_published_figure_stands_beside_ours_of_the_same_patients() -> None:
    found = {name: Interval(value, value - 0.1, value + 0.1) for name, value in (("f1", 0.9), ("balanced_accuracy", 0.7))}
    one = {"title": "PML_RARA (bags)", "leaked": False, "all": {("patient", "f1", "usual"): found["f1"]}}
    subtypes = [{"name": "NPM1", "candidates": [one]}, {"name": "PML_RARA", "candidates": [one, {**one, "leaked": True}]}]
    dealing = {"name": "scemila", "tested": {"control": 60}}
    (row,) = protocol.describe(dealing, subtypes, [], 0.95)["rows"]
    assert (row["figure"].value, row["figure"].spread) == (0.86, 0.05)
    assert row["ours"] == [("PML_RARA (bags)", found["f1"])], "a leaked figure is not claimed"
    tested = {"control": 13, "CBFB_MYH11": 9, "NPM1": 8, "RUNX1_RUNX1T1": 7, "PML_RARA": 6}
    call = {"candidate": "bags", "figures": found, "classes": {name: {"patients": number} for name, number in tested.items()}}
    none = {"candidate": "vectors", "why_not": "too few"}
    told = protocol.describe({"name": "genbloom", "tested": tested}, subtypes, [call, none], 0.95)
    assert [row["ours"] for row in told["rows"]] == [[("all classes at once, by bags", found["balanced_accuracy"])]] * 3
    assert told["others"] == []
    more = {**call, "classes": {name: {"patients": 2 * number} for name, number in tested.items()}}
    told = protocol.describe({"name": "genbloom", "tested": tested}, subtypes, [call, more], 0.95)
    assert told["others"] == [{name: 2 * number for name, number in tested.items()}], "a call of more than the trained folds"
    assert protocol.describe({"name": "mine", "tested": tested}, subtypes, [], 0.95)["published"] is None


def test_an_interval_over_43_patients() -> None:
    assert published_protocols.half_width(0.83, 43, 0.95) == pytest.approx(1.95996 * math.sqrt(0.83 * 0.17 / 43), abs=1e-5)
    assert sum(published_protocols.PROTOCOLS["genbloom"].tested.values()) == 43


def test_the_demo_has_a_file_to_try() -> None:
    table = pd.read_csv(ROOT / "data/protocols/demo_holdout.csv", dtype=str, keep_default_na=False)
    ledger = pd.read_csv(ROOT / "data/folds.csv", dtype=str, keep_default_na=False)
    assert sorted(table["patient"]) == sorted(ledger["patient"])
    assert (table["role"] == "test").sum() == 43
