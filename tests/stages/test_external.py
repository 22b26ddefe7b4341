"""`python -m pipeline external` on a drawn second hospital, against a real registry: what it says, what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import registered
import requests
from PIL import Image

from pipeline.common import config
from pipeline.common.errors import DataError, LeakError, ModelError, TrackingError
from pipeline.demo import cohort
from pipeline.demo.hospitals import OTHER
from pipeline.registry import external_run, known_pictures, mlflow_server, versions
from pipeline.stages import external, register
from pipeline.stages.external import Asked

FOLDERS = {"control": "healthy", "NPM1": "AML_NPM1", "KMT2A_MLLT3": "KMT2A_MLLT3"}
CLASSES = "healthy=control, AML_NPM1=NPM1"
IMAGES = 8


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    registered.build(folder)
    people = cohort.draw_patients(
        "control", {"control": 7, "NPM1": 6, "KMT2A_MLLT3": 2}, (IMAGES, IMAGES), (0.5, 0.8), 21, hospital=OTHER
    )
    for person in people:
        (own := folder / "ward" / FOLDERS[person.class_name] / person.patient).mkdir(parents=True)
        for cell in cohort.draw_cells(person, "control", 21, OTHER):
            (own / cell.image).write_bytes(registered.tiff(cell.pixels))
    known = [(person.patient, person.sex, person.age) for person in people]
    pd.DataFrame(known, columns=["patient", "sex", "age"]).to_csv(folder / "ward" / "metadata.csv", index=False)
    few = next((folder / "ward/healthy").iterdir())
    (few / "image_0.tif").unlink()
    (few / "notes.txt").write_text("seen on Monday")
    return folder


@pytest.fixture
def there(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    return project


def run(place: str = "ward", model: str = "NPM1@champion", **asked: object) -> None:
    settings = config.load()
    quick = {
        "audit": settings.audit.model_copy(update={"permutations": 5}),
        "evaluate": settings.evaluate.model_copy(update={"draws": 100}),
    }
    external.run(settings.model_copy(update=quick), model, Path(place), Asked(**{"classes": CLASSES, **asked}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(project: Path) -> Path:
    with pytest.MonkeyPatch.context() as here:
        here.chdir(project)
        here.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
        run()
    return project / "external/NPM1-v1/ward"


def test_figures_stand_beside_those_of_home_and_are_of_the_two_classes_alone(done: Path) -> None:
    found = json.loads((done / "metrics.json").read_text())
    assert found["patients"] == 6 + 6, "one control has too few images"
    assert found["too_few_images"] == 1
    assert found["classes"] == {"KMT2A_MLLT3": 2, "NPM1": 6, "control": 7}
    assert found["home"]["patient_auroc"] == registered.INTERVAL
    assert found["difference"]["patient_auroc"]["value"] == pytest.approx(found["patient_auroc"]["value"] - 0.8)
    patients = pd.read_csv(done / "patients.csv")
    own = patients[patients["class"].isin(["control", "NPM1"]) & ~patients["too_few_images"]]
    called = own[own["class"] == "NPM1"]["called"].mean()
    assert found["operating_point"]["sensitivity"]["value"] == pytest.approx(called)
    pairs = [
        (a < b) + (a == b) / 2 for a in own[own["class"] == "control"]["score"] for b in own[own["class"] == "NPM1"]["score"]
    ]
    assert found["patient_auroc"]["value"] == pytest.approx(sum(pairs) / len(pairs))


def test_scores_are_those_of_the_registered_model(done: Path, there: Path) -> None:
    model = mlflow.pyfunc.load_model("models:/NPM1@champion")
    names = pd.read_csv(done / "names.csv").set_index("patient")
    scores = pd.read_csv(done / "patients.csv").set_index("patient")["score"]
    for patient in names.index[:3]:
        (own,) = (there / "ward").glob(f"*/{patient}")
        data = [file.read_bytes() for file in own.glob("*.tif")]
        answer = model.predict(pd.DataFrame({"image": data, "patient": patient}))
        assert scores[names.loc[patient, "key"]] == pytest.approx(answer["patient_score"].iloc[0], abs=1e-6)


def test_another_leukaemia_is_asked_and_counts_in_no_figure(done: Path) -> None:
    classes = pd.read_csv(done / "classes.csv").set_index("class")
    assert classes.index.tolist() == ["control", "NPM1", "KMT2A_MLLT3"]
    assert classes.loc["KMT2A_MLLT3", "how"] == "never trained on"
    assert classes.loc["KMT2A_MLLT3", "patients"] == 2


def test_the_run_and_the_version_name_each_other_and_the_card_has_a_line(done: Path, there: Path) -> None:
    client = mlflow_server.connect()
    (one,) = mlflow.search_runs(experiment_names=["external"], output_format="list")
    assert one.data.tags["model"] == "NPM1/1"
    assert one.data.metrics["patient_auroc"] == json.loads((done / "metrics.json").read_text())["patient_auroc"]["value"]
    sent = {file.path for file in client.list_artifacts(one.info.run_id)}
    assert {"index.html", "metrics.json", "patients.csv"} <= sent
    assert "names.csv" not in sent
    model = client.get_model_version("NPM1", "1")
    assert one.info.run_id in model.tags["external.ward"]
    card = str(model.description)
    assert "### Elsewhere\n\n- ward: 6 NPM1 and 6 control: patient AUROC" in card, "those in the figures"
    assert "was not tested" not in card
    run()  # said again, it is the same run, and the card has one line
    register.run(config.load(), ["NPM1"], ["published"])  # which writes the card anew
    assert len(mlflow.search_runs(experiment_names=["external"], output_format="list")) == 1
    again = str(client.get_model_version("NPM1", "1").description)
    assert again.count("- ward: ") == 1
    assert again.index("### Elsewhere") < again.index("### Verdict")


def test_nothing_that_leaves_names_a_patient(done: Path, there: Path) -> None:
    names = {folder.name for folder in (there / "ward").glob("*/*") if folder.is_dir()}
    for file in done.iterdir():
        text = file.read_text()
        assert file.name in ("names.csv", "left_out.csv") or not [name for name in names if re.search(rf"\b{name}\b", text)]


def went_away(*_: object) -> str:
    raise requests.ConnectionError("connection refused")


@pytest.fixture(scope="module")
def known(project: Path) -> Path:
    """The ward, and a patient of the training among it."""
    shutil.copytree(project / "ward", project / "known")
    (own := project / "known/AML_NPM1/new one").mkdir()
    for number, data in enumerate(registered.cells("NPM1", 12)):  # as `registered.build` has them
        (own / f"image_{number}.tif").write_bytes(data)
    return own


def test_a_picture_of_the_training_refuses_the_cohort(done: Path, known: Path, there: Path) -> None:
    with pytest.raises(LeakError, match=r"new one is in the training of NPM1 v1: new one/image_0.tif .*in all 12 of 1 pat"):
        run("known")
    assert not Path("external/NPM1-v1/known").exists()


def test_one_saved_again_does_unless_a_person_knows_better_and_an_archive_says_the_same_as_its_folder(
    done: Path, known: Path, there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow goes away while it is scored: that costs the run there, not the files."""
    for file in list(known.glob("*.tif")):
        Image.open(file).rotate(90).save(file.with_suffix(".jpg"), quality=80)
        file.unlink()
    with zipfile.ZipFile("known.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(Path("known").rglob("*")):
            archive.write(file)
    with pytest.raises(LeakError, match=r"patient new one may be in the training of NPM1 v1: .*--despite-look-alikes"):
        run("known.zip")
    monkeypatch.setattr(external_run, "log", went_away)
    with pytest.raises(TrackingError, match=r"stopped answering.*the files in elsewhere are whole; the run in MLflow"):
        run("known.zip", classes=f"{CLASSES}, KMT2A_MLLT3=", output=Path("elsewhere"), despite_look_alikes=True)
    said = capsys.readouterr()
    assert "left out, as --classes says: KMT2A_MLLT3" in said.out
    assert "of experiment external" not in said.out
    assert json.loads(Path("elsewhere/metrics.json").read_text())["look_alikes_said_to_be_others"] >= 10
    assert "look like pictures of the training" in Path("elsewhere/index.html").read_text()
    ours, theirs = (pd.read_csv(folder / "patients.csv").set_index("patient") for folder in (done, Path("elsewhere")))
    own = ours[ours["class"] != "KMT2A_MLLT3"]
    pd.testing.assert_frame_equal(theirs.loc[own.index], own, check_dtype=False)
    assert len(theirs) == len(own) + 1


def test_a_version_that_does_not_say_what_it_was_made_from_is_refused_until_it_does(done: Path, there: Path) -> None:
    client = mlflow_server.connect()
    model = client.get_model_version("PML_RARA", "1")
    client.delete_model_version_tag("PML_RARA", "1", "sha256.known_pictures")
    with pytest.raises(ModelError, match=r"PML_RARA v1: does not say .*run `python -m pipeline register PML_RARA`"):
        run(model="PML_RARA@1")
    register.run(config.load(), ["PML_RARA"], ["published"])
    model = client.get_model_version("PML_RARA", "1")
    assert len(known_pictures.read(client, model)) == 24
    versions.note(client, model, **{"sha256.known_pictures": "0" * 64})
    with pytest.raises(ModelError, match="is not what the registry names"):
        run(model="PML_RARA@1")


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"classes": ""}, r"ward: no folder is class control; there are: AML_NPM1, KMT2A_MLLT3, healthy"),
        ({"classes": "helthy=control"}, "there is no folder helthy with patients in it; there are:"),
        ({"classes": "healthy"}, "'healthy' is not FOLDER=CLASS"),
        ({"classes": "healthy=control,healthy=NPM1"}, "names the folder healthy twice"),
        ({"model": "NPM1"}, "name a model and a version of it, NPM1@champion or NPM1@3"),
        ({"model": "NPM1'@1"}, "name a model and a version of it, NPM1@champion or NPM1@3"),
        ({"model": "NPM1@7"}, "NPM1@7: not in MLflow at .*; there are: NPM1@1"),
        ({"model": "CBFB_MYH11@champion"}, "CBFB_MYH11@champion: not in MLflow at .*; there are: none"),
        ({"model": "call@champion"}, "name a subtype's model"),
        ({"um": 12.0}, "images of 12 um: NPM1 v1 knows a field of view of 24.9 um and no other"),
        ({"place": "nowhere"}, "nowhere: not there"),
        ({"output": Path("data")}, "data: exists and is no earlier result"),
        ({"output": Path("params.yaml/below")}, r"params.yaml/below: cannot be made \(Not a directory\); name another folder"),
        ({"name": "x" * 300}, r"^x{20}\.\.\.: 300 letters, MLflow takes 200: give it a shorter name with --name"),
        ({"classes": f"{CLASSES},KMT2A_MLLT3=KMT2A/MLLT3"}, "--classes: 'KMT2A/MLLT3' holds a slash"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    asked: dict[str, object], line: str, done: Path, there: Path, tmp_path: Path
) -> None:
    before = sorted(Path("external").rglob("*"))
    with pytest.raises((DataError, ModelError), match=line) as told:
        run(**asked)  # type: ignore[arg-type]
    assert r"\n" not in str(told.value)
    assert sorted(Path("external").rglob("*")) == before


def test_a_patient_of_two_classes_and_one_spelled_twice_are_refused(done: Path, there: Path) -> None:
    shutil.copytree("ward", "twice")
    first = next(Path("twice/healthy").iterdir())
    shutil.copytree(first, Path("twice/AML_NPM1") / first.name)
    with pytest.raises(DataError, match=f"{first.name}: is in the folder of .* too; a patient has one class"):
        run("twice")
    (Path("twice/AML_NPM1") / first.name).rename(Path("twice/AML_NPM1") / first.name.lower())
    with pytest.raises(DataError, match="are one patient's name"):
        run("twice")
    (Path("twice/AML_NPM1") / first.name.lower()).rename(Path("twice/AML_NPM1") / f"{first.name}.")
    with pytest.raises(DataError, match=rf"'{first.name}' and '{first.name}\.' look the same"):
        run("twice")


def test_too_few_to_say_anything_of_are_refused_before_they_are_scored(
    done: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree("ward", "few")
    _whole, *others = sorted(Path("few/healthy").iterdir(), key=lambda patient: not (patient / "image_0.tif").exists())
    for patient in others:
        (patient / "image_1.tif").unlink()
    monkeypatch.setattr(external, "_champion", None)  # never asked for
    with pytest.raises(DataError, match=r"^control: 1 patients with 8 usable images or more, it takes 2: bring more, or"):
        run("few")


def test_unusable_images_stop_it_as_they_stop_validate(done: Path, there: Path) -> None:
    shutil.copytree("ward", "spoilt")
    for file in list(Path("spoilt/healthy").rglob("*.tif"))[:5]:
        file.write_bytes(b"II*\0 and no more")
    with pytest.raises(DataError, match=r"5 of 119 images cannot be used, more than validate.max_quarantined_share"):
        run("spoilt")
