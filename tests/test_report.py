import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from pipeline import config, contact_sheet, evaluate, paths, report, scoring, splits
from pipeline.errors import DataError, ModelError, PipelineError

PARAMS = Path(__file__).parents[1] / "params.yaml"
SUBTYPES = ["NPM1", "NEW"]  # with and without published figures
PX = 8
STRANGE = "<b>&</b>"  # a folder may be called so


def cohort_files(settings: config.Config) -> None:
    """Data, splits, cells and predictions of a tiny cohort, as the other stages leave them."""
    rng = np.random.default_rng(5)
    paths.CELLS.mkdir(parents=True)
    paths.SPLITS.mkdir()
    patients = {name: [f"{name[0]}{number:02}" for number in range(10)] for name in settings.classes}
    patients["NPM1"][0] = STRANGE
    for name, members in patients.items():
        rows = [(patient, f"{name}/{patient}/image_{n}.tif") for patient in members for n in range(7)]
        np.save(paths.cells(name), rng.integers(0, 256, (len(rows), PX, PX, 3), dtype=np.uint8))
        pd.DataFrame(rows, columns=["patient", "path"]).to_parquet(paths.cell_rows(name), index=False)
    count = {"patients": 10, "images": 70, "patients_delivered": 10, "files": 72, "quarantined": 2}
    counts = dict.fromkeys(settings.classes, count)
    rules = [
        {"name": "a", "expectation": "a patient is in one class", "success": True, "observed": "0 of 30", "advice": ""},
        {"name": "b", "expectation": "no <i>", "success": False, "observed": "1 of 30", "advice": "mend it"},
    ]
    source = {"source": settings.ingest.source, "files": 216, "bytes": 123456, "sha256": "ab" * 32}
    paths.SOURCE.write_text(json.dumps(source))
    paths.VALIDATION.mkdir(parents=True)
    (paths.VALIDATION / "validation.json").write_text(json.dumps({"success": False, "classes": counts, "rules": rules}))
    for subtype in settings.subtypes:
        split = pd.DataFrame(
            [
                (patient, label, number % settings.split.n_folds, 7)
                for label, name in enumerate((settings.control, subtype))
                for number, patient in enumerate(patients[name])
            ],
            columns=["patient", "label", "fold", "images"],
        )
        split.to_csv(paths.split_table(subtype), index=False)
        for k in settings.train.folds:
            training_files(settings, subtype, k, split, rng)


def training_files(settings: config.Config, subtype: str, k: int, split: pd.DataFrame, rng: np.random.Generator) -> None:
    folder = paths.fold(subtype, k)
    folder.mkdir(parents=True)
    rows = pd.concat([pd.read_parquet(paths.cell_rows(name)) for name in (settings.control, subtype)])
    roles = splits.roles(split, k, settings.split.n_folds).rename("split").reset_index()
    rows = rows.merge(split[["patient", "label"]], on="patient").merge(roles[roles["split"] != "train"], on="patient")
    rows["logit"] = np.where(rows["label"] == 1, 2.0, -2.0) + rng.normal(0, 1.5, len(rows))
    rows["score"] = scoring.probabilities(rows["logit"])
    rows.to_parquet(folder / "predictions.parquet", index=False)
    epochs = {
        "epoch": [0, 1],
        "loss": [0.7, 0.5],
        "val_loss": [0.8, 0.6],
        "accuracy": [0.5, 0.8],
        "val_accuracy": [0.5, 0.7],
        "kept": [0, 1],
    }
    pd.DataFrame(epochs).to_csv(folder / "history.csv", index=False)
    spec = {
        "px": PX,
        "um": settings.image_um,
        "normalisation": {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]},
        "precision": "float32",
        "layers": [
            {"kind": "conv", "filters": 64, "kernel_px": 3, "batch_norm_momentum": None, "pool": True},
            {"kind": "dense", "units": 128},
        ],
        "machine": {"kind": "cpu", "name": "Some & Processor", "threads": 2},
        "inputs": {"cells": "c0" * 32, "split": "51" * 32, "code": "ed" * 32},
        "training": "7a" * 32,
    }
    (folder / "spec.json").write_text(json.dumps(spec))


def audit_file(subtype: str) -> None:
    """What `audit` finds: something red, something not known, and groups."""
    sides = {"control": {"patients": 4, "right": 3}, "subtype": {"patients": 2, "right": 2}}
    group = {"group": "<women>", **sides, "patient_auroc": None, "note": "too few to say: 2 subtype"}
    common = {"rule": "red when so", "advice": "restain", "answered": True}
    checks = [
        {"name": "colour_only", "question": "Do colours tell?", "found": "AUROC 0.9", "value": {}, "red": True, **common},
        {"name": "by_sex", "question": "By sex?", "found": "alike", "value": {"groups": [group]}, "red": False, **common},
        {"name": "by_age", "question": "By age?", "found": "not known", "value": None, "red": False, **common}
        | {"answered": False},
    ]
    paths.audit(subtype).parent.mkdir(parents=True, exist_ok=True)
    paths.audit(subtype).write_text(json.dumps({"red": 1, "checks": checks}))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with everything that the stage reads; the real `evaluate` wrote its part."""
    folder = tmp_path_factory.mktemp("results")
    values = config.load(PARAMS).model_dump(by_alias=True)
    values["subtypes"] = SUBTYPES
    values["train"]["models"]["NEW"] = values["train"]["models"]["NPM1"]
    values["ingest"]["demo"]["patients"]["NEW"] = 10
    values["train"]["folds"] = [1, 0]
    settings = config.Config.model_validate(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cohort_files(settings)
        evaluate.run(settings, SUBTYPES)
        for subtype in SUBTYPES:
            audit_file(subtype)
        report.run(settings)
    return folder, settings


@pytest.fixture
def settings(results, tmp_path, monkeypatch):
    """The same in a folder of one's own, which may be spoilt."""
    folder, settings = results
    for file in folder.rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return settings


class Page(HTMLParser):
    """What a browser makes of the page: tags, and every table as rows of text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._in_cell = self._silent = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent = tag == "style"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self._in_cell = False
        self._silent = False

    def handle_data(self, data):
        if not self._silent:
            self.text += data
        if self._in_cell:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, first_header: str) -> list[list[str]]:
        return next(table for table in self.tables if table[0][0] == first_header)


def page() -> Page:
    return Page(paths.REPORT_PAGE.read_text())


def test_page_asks_no_host_and_needs_no_other_file(settings):
    html = re.sub(r"base64,[A-Za-z0-9+/=]+", "", paths.REPORT_PAGE.read_text())
    assert "//" not in html
    assert "@import" not in html
    assert "url(" not in html
    tags = page().tags
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed"}
    sources = [attributes["src"] for _, attributes in tags if "src" in attributes]
    assert len(sources) >= 3 * len(SUBTYPES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_same_files_make_the_same_bytes(settings):
    before = paths.REPORT_PAGE.read_bytes()
    report.run(settings)
    assert paths.REPORT_PAGE.read_bytes() == before
    assert [file.name for file in paths.REPORTS.iterdir() if file.is_file()] == ["index.html"]


def test_published_figures_stand_beside_the_measured(settings):
    (known, unknown) = [table for table in page().tables if table[0][:2] == ["Class", "Precision"]]
    measured = pd.read_csv(paths.report("NPM1") / "by_class.csv").query("source == 'measured'").set_index("class")
    columns = ["precision", "recall", "f1"]
    rows = {(row[0], number > 4): row for number, row in enumerate(known) if len(row) == 5}
    for label, name in ((False, "control"), (True, "subtype")):
        assert rows["measured", label] == ["measured", *(f"{v:.2f}" for v in measured.loc[name, columns]), "28"]
    assert rows["published", False] == ["published", "0.87", "0.90", "0.89", "800"]
    assert rows["published", True] == ["published", "0.90", "0.86", "0.88", "800"]
    assert re.fullmatch(r"0\.\d\d0\.\d\d to 0\.\d\d", rows["balanced", True][2])  # a figure and its interval
    assert known[-1] == ["published", "0.88", "1,600"]
    assert not [row for row in unknown if row[0] == "published"]
    assert "There are no published figures of this subtype." in page().text


def test_summary_says_on_how_many_patients_each_figure_rests(settings):
    patients = pd.read_csv(paths.report("NPM1") / "patients.csv")
    row = next(row for row in page().table("Subtype") if row[0] == "NPM1")
    right = {label: int((rows["called"] == bool(label)).sum()) for label, rows in patients.groupby("label")}
    assert row[1] == "4 + 456 images"
    assert row[3] == "0.88"
    assert row[-1] == "✗ 1 red"
    for cell, label in ((row[-3], 1), (row[-2], 0)):
        bounds = binomtest(right[label], 4).proportion_ci(0.95, method="exact")
        assert cell == f"{right[label]} of 4 ({right[label] / 4:.0%}){bounds.low:.2f} to {bounds.high:.2f}"
    assert "moves the figure by 25 percentage points" in " ".join(page().text.split())


def test_names_from_the_cohort_are_text_not_markup(settings):
    html = paths.REPORT_PAGE.read_text()
    assert STRANGE not in html
    assert "<i>" not in html
    assert any(row[0] == STRANGE for table in page().tables for row in table)
    assert "Some & Processor (CPU), 2 threads" in page().text


def test_page_reads_well_to_a_machine(settings):
    tags = page().tags
    assert ("html", {"lang": "en-GB"}) in tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(len(attributes["alt"]) > 20 for tag, attributes in tags if tag == "img")
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    anchors = [attributes["href"][1:] for tag, attributes in tags if tag == "a" and attributes["href"].startswith("#")]
    assert set(anchors) <= {attributes.get("id") for _, attributes in tags}
    assert set(SUBTYPES) <= set(anchors)


def test_only_a_demo_is_called_synthetic(settings):
    assert "The cohort is synthetic." in page().text
    source = json.loads(paths.SOURCE.read_text()) | {"source": "folder"}
    paths.SOURCE.write_text(json.dumps(source))
    report.run(settings)
    assert "synthetic" not in page().text


def test_broken_rules_show_what_to_do(settings):
    assert "1 of 2 rules are broken." in page().text
    rules = page().table("Rule")
    assert rules[1] == ["A patient is in one class", "✓ pass", "0 of 30"]
    assert rules[2] == ["No <i>", "✗ fail", "1 of 30; what to do: mend it"]


def test_what_speaks_against_a_result_stands_with_what_to_do(settings):
    questions = next(table for table in page().tables if table[0][0] == "Question")
    assert questions[1] == ["Do colours tell?", "✗ red", "AUROC 0.9; what to do: restainRed when so."]
    assert [row[1] for row in questions[2:]] == ["✓ fine", "not known"]
    (women,) = [row for table in page().tables for row in table if row[0] == "<women>"][:1]
    assert women[1:] == ["2 of 2 (100%)", "3 of 4 (75%)", "–", "too few to say: 2 subtype"]


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("reports/NPM1/metrics.json", ModelError),
        ("reports/NPM1/by_class.csv", ModelError),
        ("reports/NPM1/folds.csv", ModelError),
        ("reports/audit/NPM1.json", ModelError),
        ("reports/NPM1/plots/roc.png", ModelError),
        ("models/NPM1/fold-1/spec.json", ModelError),
        ("models/NPM1/fold-0/predictions.parquet", ModelError),
        ("data/cells/NPM1.npy", DataError),
        ("data/splits/NPM1.csv", DataError),
        ("data/source.json", DataError),
        ("reports/validation/validation.json", DataError),
    ],
)
def test_missing_or_damaged_file_is_one_line_that_says_what_to_run(settings, file, error):
    before = paths.REPORT_PAGE.read_bytes()
    content = Path(file).read_bytes()
    Path(file).unlink()
    with pytest.raises(error, match=re.escape(file)) as missing:
        report.run(settings)
    assert "dvc repro" in str(missing.value)
    assert "\n" not in str(missing.value)
    if not file.endswith((".png", ".csv")):
        Path(file).write_bytes(content[: len(content) // 2])
        with pytest.raises(error, match=re.escape(file)):
            report.run(settings)
    assert paths.REPORT_PAGE.read_bytes() == before


def test_results_of_other_folds_are_refused(settings):
    patients = pd.read_csv(paths.report("NPM1") / "patients.csv")
    patients.iloc[1:].to_csv(paths.report("NPM1") / "patients.csv", index=False)
    with pytest.raises(PipelineError, match="dvc repro"):
        report.run(settings)


def test_sheets_hold_the_surest_first_and_only_such_calls(settings):
    heat = pd.read_csv(paths.report("NPM1") / "folds.csv").set_index("fold")["temperature"]
    scored = pd.concat([pd.read_parquet(paths.fold("NPM1", k) / "predictions.parquet").assign(fold=k) for k in (0, 1)])
    scored = scored[scored["split"] == "test"].assign(logit=lambda table: table["logit"] / table["fold"].map(heat))
    surest = scored[(scored["label"] == 0) & (scored["logit"] <= 0)].sort_values("logit").iloc[0]
    shown = 1 / (1 + np.exp(-surest["logit"]))
    alts = [attributes["alt"] for tag, attributes in page().tags if tag == "img"]
    (right,) = [alt for alt in alts[: len(alts) // 2] if alt.startswith("Cells of control called control")]
    assert f"score: {surest['patient']} {'<0.001' if shown < 0.0005 else f'{shown:.3f}'}," in right
    assert right.count(",") == 1 + 11  # "..., with patient and score:" and twelve captions


@pytest.mark.parametrize("images", [1, 4, 5, 12])
def test_contact_sheet_holds_every_crop(images):
    crops = np.stack([np.full((PX, PX, 3), 20 * number, dtype=np.uint8) for number in range(images)])
    sheet = contact_sheet.compose(crops, ["W" * 200] * images)
    colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height) or []}
    assert {(20 * number,) * 3 for number in range(images)} <= colours
    assert contact_sheet.png(sheet) == contact_sheet.png(sheet.copy())


def test_points_of_equal_score_do_not_hide_each_other():
    assert len(set(report.lanes([0.5] * 7))) == 7
    assert report.lanes([0.1, 0.5, 0.9]) == [0, 0, 0]
