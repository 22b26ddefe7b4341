import hashlib
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from report_cohort import PX, STRANGE, SUBTYPES, audit_file, cohort_files
from scipy.stats import binomtest

from pipeline.common import config, files, paths
from pipeline.common.errors import DataError, ModelError, PipelineError
from pipeline.evaluation import intervals, pooling
from pipeline.pages import contact_sheet
from pipeline.stages import evaluate, report

PARAMS = ROOT / "params.yaml"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with everything that the stage reads; the real `evaluate` wrote its part."""
    folder = tmp_path_factory.mktemp("results")
    values = config.load(PARAMS).model_dump(by_alias=True)
    values["subtypes"] = SUBTYPES
    values["kinds"]["bag"], values["candidates"] = [], {"published": values["candidates"]["published"]}
    values["call"]["candidates"] = []
    values["candidates"]["published"]["networks"]["NEW"] = values["candidates"]["published"]["networks"]["NPM1"]
    values["ingest"]["demo"]["patients"]["NEW"] = 10
    values["folds"] = [1, 0]
    values["evaluate"]["draws"] = 200
    settings = config.Config.model_validate(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cohort_files(settings)
        evaluate.run(settings, SUBTYPES, ["published"])
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


def words() -> str:
    """The text with single spaces."""
    return " ".join(page().text.split())


def test_page_asks_no_host_and_needs_no_other_file(settings):
    html = re.sub(r"base64,[A-Za-z0-9+/=]+", "", paths.REPORT_PAGE.read_text())
    assert "//" not in html
    assert "@import" not in html
    assert "url(" not in html
    tags = page().tags
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "embed"}
    sources = [attributes["src"] for _, attributes in tags if "src" in attributes]
    assert len(sources) >= 2 * len(SUBTYPES)
    assert all(source.startswith("data:image/webp;base64,") for source in sources)


def test_the_gates_verdict_is_shown_of_these_very_results_or_said_to_be_missing(settings):
    shown = [attributes["data"] for tag, attributes in page().tags if tag == "object"]
    assert shown == [f"{name}/verdicts.html#{files.md5(paths.evaluated(name, 'published'))}" for name in SUBTYPES]
    assert words().count("Gate: no verdict beside this page") == len(SUBTYPES)  # where there is no such file
    content = paths.evaluated("NPM1", "published").read_text()
    paths.evaluated("NPM1", "published").write_text(content + " ")
    report.run(settings)
    assert shown[0] not in paths.REPORT_PAGE.read_text()


def test_same_files_make_the_same_bytes(settings):
    before = paths.REPORT_PAGE.read_bytes()
    report.run(settings)
    assert paths.REPORT_PAGE.read_bytes() == before
    assert [file.name for file in paths.REPORTS.iterdir() if file.is_file()] == ["index.html"]


def test_published_figures_stand_beside_the_measured(settings):
    (known, unknown) = [table for table in page().tables if table[0][:2] == ["Class", "Precision"]]
    measured = pd.read_csv(paths.report("NPM1", "published") / "by_class.csv").query("source == 'measured'").set_index("class")
    shown = {
        name: [f"{row[f]:.2f}{row[f'{f}_low']:.2f} to {row[f'{f}_high']:.2f}" for f in ("precision", "recall", "f1")]
        for name, row in measured.iterrows()
    }
    rows = {(row[0], number > 4): row for number, row in enumerate(known) if len(row) == 5}
    for label, name in ((False, "control"), (True, "subtype")):
        assert rows["measured", label] == ["measured", *shown[name], "28"]
    assert rows["published", False] == ["published", "0.87", "0.90", "0.89", "800"]
    assert rows["published", True] == ["published", "0.90", "0.86", "0.88", "800"]
    assert re.fullmatch(r"0\.\d\d0\.\d\d to 0\.\d\d", rows["balanced", True][2])  # a figure and its interval
    assert known[-1] == ["published", "0.88", "1,600"]
    assert not [row for row in unknown if row[0] == "published"]
    assert "There are no published figures of this subtype." in page().text


def test_where_nothing_is_published_the_page_does_not_speak_of_it(settings):
    for table in paths.REPORTS.glob("*/*/by_class.csv"):
        rows = pd.read_csv(table)
        rows[rows["source"] != "published"].to_csv(table, index=False)
    report.run(settings)
    assert "Image level: precision, recall and F1" in page().text
    assert "Published accuracy" not in page().text
    assert not re.search(r"published (form|figures|one|split)", page().text)


def test_the_first_screen_has_a_sentence_an_interval_and_a_verdict_for_every_candidate(settings):
    patients = pd.read_csv(paths.report("NPM1", "published") / "patients.csv")
    right = {label: int((rows["called"] == bool(label)).sum()) for label, rows in patients.groupby("label")}
    html = paths.REPORT_PAGE.read_text()
    screen = html[html.index('<ul class="glance">') : html.index("</ul>", html.index('<ul class="glance">'))]
    said = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in screen.split("<li>")[1:]]
    assert len(said) == len(SUBTYPES)
    assert said[0].startswith(f"NPM1 {right[1]} of 4 found, {4 - right[0]} of 4 control called wrongly Patient AUROC ")
    assert said[0].endswith("Floors: ✓ reached Audit : ✗ 1 red , 1 nothing to judge")
    auroc = json.loads((paths.report("NPM1", "published") / "metrics.json").read_text())["patient_auroc"]
    assert f'x1="{100 * auroc["low"]:.2f}%" x2="{100 * auroc["high"]:.2f}%"' in screen


def test_how_many_patients_stand_behind_a_point_is_said_below_the_picture_where_no_two_numbers_overlap(settings):
    told = re.findall(r"Patients behind the points?(?:, from the left)?: ([\d, ]+)\.", page().text)
    assert [sum(map(int, one.split(","))) for one in told] == [8] * len(SUBTYPES)
    assert not re.search(r"<text[^>]*>n = ", paths.REPORT_PAGE.read_text())


def test_so_few_patients_that_nothing_rests_on_them_are_told_on_the_first_screen(settings):
    assert "too few to rely" not in words()
    gate = settings.register_.gate.model_copy(update={"fewest_patients": 5})
    report.run(settings.model_copy(update={"register_": settings.register_.model_copy(update={"gate": gate})}))
    assert words().count("4 + 4 test patients are too few to rely on any of it") == len(SUBTYPES)


def test_a_floor_that_is_missed_is_on_the_first_screen(settings):
    assert "is below the floor" not in words()
    own = settings.register_.floors.cnn.model_copy(update={"patient_sensitivity": 1.0, "image_accuracy": 0.999})
    floors = settings.register_.floors.model_copy(update={"cnn": own})
    report.run(settings.model_copy(update={"register_": settings.register_.model_copy(update={"floors": floors})}))
    assert re.search(r"image accuracy 0\.\d{3} is below the floor 0\.999", words())


def test_the_figures_say_on_how_many_patients_each_rests(settings):
    patients = pd.read_csv(paths.report("NPM1", "published") / "patients.csv")
    row = next(row for row in page().table("Subtype") if row[0] == "NPM1")
    right = {label: int((rows["called"] == bool(label)).sum()) for label, rows in patients.groupby("label")}
    assert row[1] == "4 + 456 images"
    assert row[-1] == "0.88"
    for cell, label in ((row[3], 1), (row[4], 0)):
        bounds = binomtest(right[label], 4).proportion_ci(0.95, method="exact")
        assert cell == f"{right[label]} of 4 ({right[label] / 4:.0%}){bounds.low:.2f} to {bounds.high:.2f}"
    assert "moves its rate by 25 percentage points" in words()


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


def test_every_link_leads_where_it_says(settings):
    tags = page().tags
    anchors = {attributes["href"][1:] for tag, attributes in tags if tag == "a" and attributes["href"].startswith("#")}
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert anchors <= set(ids)
    assert len(ids) == len(set(ids))
    assert set(SUBTYPES) <= anchors


def test_no_rule_is_said_twice(settings):
    said = words()
    assert said.count("Red when so: Do colours tell? By sex?") == said.lower().count("red when so") == 1
    for text in (
        "with bounds at those of sensitivity",
        "The images of one patient resemble each other",
        "a split by image makes figures",
    ):
        assert said.count(text) == 1


def test_only_a_demo_is_called_synthetic(settings):
    assert "The cohort is synthetic." in page().text
    source = json.loads(paths.SOURCE.read_text()) | {"source": "folder"}
    paths.SOURCE.write_text(json.dumps(source))
    report.run(settings)
    assert "synthetic" not in page().text


def test_tripod_says_whether_the_metadata_was_held_against_the_folders(settings):
    assert "the folder a patient was delivered in; the metadata of the cohort does not say it" in page().text
    validation = json.loads((file := paths.VALIDATION / "validation.json").read_text())
    next(rule for rule in validation["rules"] if rule["name"] == "class_as_listed")["state"] = "pass"
    file.write_text(json.dumps(validation))
    report.run(settings)
    assert "the folder a patient was delivered in; and the metadata of the cohort says the same" in page().text


def test_where_no_candidate_calls_it_is_said(settings):
    assert "Nobody was called one of all classes: call.candidates in params.yaml names no candidate." in page().text


def test_broken_rules_show_what_to_do(settings):
    assert "1 of 2 rules holds, 1 is broken; 1 had nothing to judge." in page().text
    assert ("details", {"id": "page.rules", "open": None}) in page().tags
    rules = page().table("Rule")
    assert rules[1] == ["A patient is in one class", "✓ pass", "0 of 30"]
    assert rules[2] == ["No <i>", "✗ fail", "1 of 30; what to do: mend it"]
    assert rules[3] == ["As listed", "nothing to judge", "no listed classes"]


def test_what_speaks_against_a_result_stands_with_what_to_do(settings):
    questions = next(table for table in page().tables if table[0][0] == "Question")
    assert questions[1] == ["Do colours tell?", "✗ red", "AUROC 0.9; what to do: restain"]
    assert [row[1] for row in questions[2:]] == ["✓ clear", "nothing to judge"]
    assert "audit: 1 red, 1 clear, 1 nothing to judge" in words()
    assert "Not ruled out (audit): ✗ red Do colours tell?" in words()


def test_the_rate_of_a_group_has_its_exact_interval(settings):
    (women,) = [row for table in page().tables for row in table if row[0] == "<women>"][:1]
    two, three = (binomtest(right, total).proportion_ci(0.95, method="exact") for right, total in ((2, 2), (3, 4)))
    assert women[1:] == [f"2 of 2{two.low:.2f} to {two.high:.2f}", f"3 of 4{three.low:.2f} to {three.high:.2f}", "–"]


def test_an_answer_may_say_its_state_itself(settings):
    audit = json.loads(paths.audit("NPM1", "published").read_text())
    audit["checks"][1]["state"] = "amber"
    paths.audit("NPM1", "published").write_text(json.dumps(audit))
    report.run(settings)
    assert "✗ 1 red, 1 amber, 1 nothing to judge" in words()
    assert "! amber By sex?" in words()


@pytest.mark.parametrize(
    "file",
    [
        "reports/NPM1/published/metrics.json",
        "reports/NPM1/published/by_class.csv",
        "reports/NPM1/published/folds.csv",
        "reports/audit/NPM1/published.json",
        "reports/NPM1/published/curves/bands.csv",
        "data/evaluated/NPM1/published.json",
        "models/NPM1/published/fold-1/spec.json",
        "data/scored/NPM1/published.parquet",
        "data/cells/NPM1.npy",
        "data/splits/NPM1.csv",
        "data/source.json",
        "data/patients.csv",
        "reports/validation/validation.json",
    ],
)
def test_missing_or_damaged_file_is_one_line_that_says_what_to_run(settings, file):
    before = paths.REPORT_PAGE.read_bytes()
    content = Path(file).read_bytes()
    Path(file).unlink()
    with pytest.raises(DataError, match=re.escape(file)) as missing:
        report.run(settings)
    assert "dvc repro" in str(missing.value)
    assert r"\n" not in str(missing.value)
    if not file.endswith((".csv", "evaluated/NPM1/published.json")):
        Path(file).write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=re.escape(file)):
            report.run(settings)
    assert paths.REPORT_PAGE.read_bytes() == before


def test_what_the_page_has_asked_of_other_classes_it_does_not_call_unasked(settings):
    said = words()
    assert "Whom a test calls of the other classes here stands in every test on every class; how anybody of no class" in said
    assert said.count("called has not been asked") == 1


def test_a_figure_without_its_bounds_is_refused(settings):
    metrics = paths.report("NPM1", "published") / "metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"image_accuracy": {"value": 0.9}}))
    with pytest.raises(DataError, match=re.escape(str(metrics))):
        report.run(settings)


def test_a_pooling_without_known_bounds_shows_its_value_alone(settings):
    path = paths.report("NPM1", "published") / "poolings.csv"
    poolings = pd.read_csv(path)
    poolings.loc[1, ["low", "high"]] = float("nan")
    poolings.to_csv(path, index=False)
    report.run(settings)
    rows = [row for table in Page(paths.REPORT_PAGE.read_text()).tables for row in table if row[0] == "Median of the logits"]
    assert rows[0][1] == f"{poolings.loc[1, 'patient_auroc']:.2f}"  # NPM1's, the first


@pytest.mark.parametrize("file", ["curves/bands.csv", "curves/history.csv", "reliability.csv"])
def test_curves_of_another_form_are_refused(settings, file):
    path = paths.report("NPM1", "published") / file
    path.write_text("other,columns\n1,2\n")
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: damaged .*dvc checkout"):
        report.run(settings)


@pytest.mark.parametrize("content", ["", "epoch,loss\n0,0.7\n", "epoch,loss,val_loss,accuracy,val_accuracy,kept\n0,x,1,1,1,1"])
def test_a_damaged_history_is_told_before_anything_is_measured(settings, content):
    path = paths.fold("NPM1", "published", 0) / "history.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: damaged .*dvc checkout"):
        evaluate.run(settings, ["NPM1"], ["published"])


def test_results_of_other_folds_are_refused(settings):
    patients = pd.read_csv(paths.report("NPM1", "published") / "patients.csv")
    patients.iloc[1:].to_csv(paths.report("NPM1", "published") / "patients.csv", index=False)
    with pytest.raises(PipelineError, match="dvc repro"):
        report.run(settings)


def test_sheets_hold_the_surest_first_and_only_such_calls(settings):
    scored = pd.read_parquet(paths.scored("NPM1", "published"))
    scored = scored[scored["split"] == "test"].assign(logit=scored["calibrated_logit"])
    surest = scored[(scored["label"] == 0) & (scored["logit"] <= 0)].sort_values("logit").iloc[0]
    shown = 1 / (1 + np.exp(-surest["logit"]))
    alts = [attributes["alt"] for tag, attributes in page().tags if tag == "img"]
    (right,) = [alt for alt in alts[: len(alts) // 2] if alt.startswith("Cells of control called control")]
    assert f"score: {surest['patient']} {'<0.001' if shown < 0.0005 else f'{shown:.3f}'}," in right
    assert right.count(",") == 1 + 11  # "..., with patient and score:" and twelve captions


def test_what_could_not_be_asked_is_not_counted_as_ruled_out(settings):
    audit = json.loads(paths.audit("NPM1", "published").read_text())
    audit["red"], audit["checks"][0]["red"], audit["checks"][0]["state"] = 0, False, "clear"
    paths.audit("NPM1", "published").write_text(json.dumps(audit))
    report.run(settings)
    assert "audit: 2 clear, 1 nothing to judge" in words()
    assert "What there was nothing to judge by is not ruled out." in words()


def test_what_is_folded_away_is_printed_only_if_the_reader_says_so(settings):
    assert ("input", {"type": "checkbox", "id": "page.print-all"}) in page().tags
    paper = paths.REPORT_PAGE.read_text().split("@media print")[-1]
    assert r"body:not(:has(#page\.print-all:checked)) :is(details:not([open]), .passed) { display: none; }" in paper
    assert "details::details-content { content-visibility: visible; }" in paper


def test_words_a_clinician_stumbles_over_are_explained_where_they_stand(settings):
    rows = {row[0] for row in page().table("Figure")}
    for said in (
        "Brier scoremean squared distance from score to truth (0 or 1); 0.25: a coin",
        "Calibration slope (1 is right)below 1: scores are too bold, above 1 too timid",
        "Expected calibration errormean distance from score to share of the subtype, over bins of patients",
    ):
        assert said in rows
    assert all(len(row) > len("Log loss") + 10 for row in rows - {"Figure"})  # no figure without a word
    assert "Temperature: the number by which a network's logits (its raw outputs" in words()


def test_where_no_operating_point_was_chosen_nothing_is_said_to_be_fixed_on_validation_patients(settings):
    assert "No operating point could be chosen: 4 controls of other folds, 20 needed" in words()
    assert "was fixed on the controls of other folds" not in words()
    assert page().table("Figure")[0] == ["Figure", "Patient", "Image"]


def test_an_operating_point_has_a_column_of_its_own_and_folds_without_one_are_named(settings):
    chosen = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"fewest_controls": 2})})
    evaluate.run(chosen, ["NPM1"], ["published"])
    report.run(chosen)
    table = page().table("Figure")
    assert table[0][2] == "Patient, at the operating point"
    patients, folds = (pd.read_csv(paths.report("NPM1", "published") / f"{name}.csv") for name in ("patients", "folds"))
    called = patients["score"] > patients["fold"].map(folds.set_index("fold")["threshold"])
    expected = intervals.of_calls(patients["label"], called, 0.95)
    names = {"Accuracy": "accuracy", "Sensitivity": "sensitivity", "F1": "f1", "Matthews correlation": "mcc"}
    for name, figure in names.items():
        (cell,) = [row[2] for row in table if row[0].startswith(name)]
        bounds = expected[figure]
        assert cell == f"{bounds.value:.2f}{bounds.low:.2f} to {bounds.high:.2f}"
    assert [row[2] for row in table if row[0].startswith("Brier score")] == ["–"]  # no threshold moves it
    assert "aims at a specificity of 0.95 and was fixed on the controls of other folds" in words()
    assert "controls of other folds, too few" not in words()
    folds.assign(chosen=folds["fold"] != 0).to_csv(paths.report("NPM1", "published") / "folds.csv", index=False)
    report.run(chosen)
    assert "In fold 0 there were 4 controls of other folds, too few" in words()


def test_calibration_is_judged_at_the_classes_shares(settings):
    """The patients' scores are for as many of either class: moving them is not left to the reader."""
    patients = pd.read_csv(paths.report("NPM1", "published") / "patients.csv")
    few = pd.concat([patients[patients["label"] == 0], patients[patients["label"] == 1].head(1)])
    table = evaluate._reliability(settings, few)
    moved = pooling.probabilities(few["logit"] + np.log(1 / 4)).mean()
    assert (table["n"] * table["mean_score"]).sum() / table["n"].sum() == pytest.approx(moved)
    assert "after moving the scores to the share of the subtype among the test patients" in words()


def test_the_first_lines_say_how_many_networks_were_tested_on_whom(settings):
    assert "for each subtype a model was trained 2 times, each time without a part of the patients, on whom it was" in words()
    values = settings.model_dump(by_alias=True)
    values["folds"] = [0]
    lone = config.Config.model_validate(values)
    evaluate.run(lone, SUBTYPES, ["published"])
    report.run(lone)
    assert "for each subtype a model was trained on some of the patients and tested on others." in words()
    assert "AUROC, within folds" not in words()


def test_what_a_network_was_not_given_is_said(settings):
    assert "of each class a network" not in words()
    values = settings.model_dump(by_alias=True)
    values["train"]["images_per_class"] = 20
    report.run(config.Config.model_validate(values))
    assert "at most 20 of each class a network" in words()


def test_software_and_settings_are_on_the_page(settings):
    said = words()
    for name in ("tensorflow", "keras", "scikit-learn", "numpy"):
        assert f"{name} {metadata.version(name)}" in said
    assert hashlib.sha256(b"numpy==1.0\n").hexdigest()[:12] in said
    for shown in ("conv [256, 192]", "learning_rate 1e-05", "images_per_class null", "augment_flips true", "draws 200"):
        assert shown in said, shown
    Path("requirements.lock").unlink()
    with pytest.raises(DataError, match=r"git checkout requirements\.lock"):
        report.run(settings)


def test_tables_of_an_earlier_version_are_refused(settings):
    file = paths.report("NPM1", "published") / "folds.csv"
    pd.read_csv(file).drop(columns="chosen").to_csv(file, index=False)
    with pytest.raises(ModelError, match=r"folds\.csv: made by an earlier version; run `dvc repro`"):
        report.run(settings)


@pytest.mark.parametrize("images", [1, 4, 5, 12])
def test_contact_sheet_holds_every_crop(images):
    crops = np.stack([np.full((PX, PX, 3), 20 * number, dtype=np.uint8) for number in range(images)])
    sheet = contact_sheet.compose(crops, ["W" * 200] * images)
    colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height) or []}
    assert {(20 * number,) * 3 for number in range(images)} <= colours
    for written in (contact_sheet.png, contact_sheet.webp):
        assert written(sheet) == written(sheet.copy())


def test_candidates_stand_beside_each_other_with_their_differences(settings):
    """The second calls one patient otherwise; nobody else differs."""
    values = settings.model_dump(by_alias=True)
    values["candidates"]["second"] = values["candidates"]["published"]
    values["kinds"]["cnn"].append("second")
    both = config.Config.model_validate(values)
    for folder in (paths.MODELS, paths.REPORTS):
        for subtype in SUBTYPES:
            shutil.copytree(folder / subtype / "published", folder / subtype / "second")
    for subtype in SUBTYPES:
        for place in (paths.scored, paths.evaluated):
            shutil.copy(place(subtype, "published"), place(subtype, "second"))
        shutil.copy(paths.audit(subtype, "published"), paths.audit(subtype, "second"))
        shutil.copy(paths.other_classes(subtype, "published"), paths.other_classes(subtype, "second"))
    file = paths.report("NPM1", "second") / "patients.csv"
    patients = pd.read_csv(file)
    (turned,) = patients.index[(patients["label"] == 1) & patients["called"]][:1]
    patients.loc[turned, ["called", "score"]] = [False, patients.loc[turned, "score"] - 0.25]
    patients.to_csv(file, index=False)
    report.run(both)
    rows = {row[0]: row for row in page().table("Candidate")}
    assert rows["NPM1 (published)"][-3:] == ["–"] * 3
    assert rows["NPM1 (second)"][-3:-1] == ["0 of 8", "1 of 8"]
    assert "the tests call 8 of 20 (40%) their own subtype, of controls 8 of 20 (40%)" in " ".join(page().text.split())
    assert rows["NEW (second)"][-3:] == ["0 of 8", "0 of 8", "0.0000.000 to 0.000"]
    test_every_link_leads_where_it_says(both)
    test_page_reads_well_to_a_machine(both)


def test_a_candidate_without_figures_of_images_is_shown(settings):
    folder = paths.report("NPM1", "published")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(
        json.dumps({key: value for key, value in metrics.items() if not key.startswith("image")})
    )
    for name in ("figures", "folds"):
        table = pd.read_csv(folder / f"{name}.csv")
        table = table[table["level"] == "patient"] if name == "figures" else table.drop(columns=["images", "image_auroc"])
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "by_class.csv").unlink()
    (folder / "curves" / "history.csv").unlink()
    bands = pd.read_csv(folder / "curves" / "bands.csv")
    bands[bands["level"] == "patient"].to_csv(folder / "curves" / "bands.csv", index=False)
    report.run(settings)
    row = next(row for row in page().table("Subtype") if row[0] == "NPM1")
    assert (row[1], row[5:7]) == ("4 + 4", ["–", "–"])
    assert page().table("True class")[0] == ["True class", "Patients calledcontrol", "Patients calledNPM1"]
    assert "image accuracy not measured" not in words()  # and no floor of it is asked
    ids = {attributes.get("id") for _, attributes in page().tags}
    assert not {"NPM1-images", "NPM1-cells"} & ids
    assert {"NPM1-made", "NEW-images"} <= ids
    test_every_link_leads_where_it_says(settings)


def test_age_sex_and_what_is_missing_stand_by_class_and_fold(settings):
    by_class = {row[0]: row for row in page().table("Class") if len(row) > 5}
    rows = next(table for table in page().tables if table[0][:3] == ["Class", "Patients", "Women / men"])
    assert rows[1] == ["control", "10", "4 / 3", "2420 to 28", "3", "1", "10", "10", "10"], by_class
    folds = next(table for table in page().tables if table[0][0] == "Class, fold")
    assert folds[2] == ["Fold 0*", "2", "1 / 0", "2220 to 25", "1", "0", "2", "2", "2"]


def test_predictive_values_and_net_benefit_are_at_the_prevalences_of_the_settings(settings):
    asked = settings.report.model_copy(update={"prevalences": [0.25], "risks": [0.1, 0.4]})
    report.run(settings.model_copy(update={"report": asked}))
    assert [row[0] for row in page().table("Prevalence")] == ["Prevalence", "0.25"]
    curve = page().table("Acting above")
    assert curve[0] == ["Acting above", "Prevalence 0.25", "everybody"]
    assert [row[0] for row in curve[1:]] == ["0.1", "0.4"]
    assert [row[2] for row in curve[1:]] == ["167", "-250"]  # .25 - .75 / 9 and .25 - .75 * .4 / .6, of a thousand


def test_every_item_of_tripod_ai_is_on_the_page(settings):
    items = page().table("Item")[1:]
    assert {int(re.match(r"\d+", row[0])[0]) for row in items} == set(range(1, 28))
    assert all(row[2] != "–" or row[3] != "–" for row in items)


def test_a_subtype_whose_scores_are_explained_leads_to_the_page(settings):
    asked = settings.explain.model_copy(update={"subtypes": ["NEW"]})
    report.run(settings.model_copy(update={"explain": asked}))
    links = [place for place in re.findall(r'href="([^"#]+)"', Path("reports/index.html").read_text()) if "explained" in place]
    assert links == ["explained/NEW/published/index.html"]
    assert (Path("reports") / links[0]).parent == paths.explained("NEW", "published")
