"""Networks asked about the patients of every class, by networks that nobody trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trained_networks
from conftest import write_params
from trained_networks import FOLDS, IMAGES, PATIENTS, PX

from pipeline.common import config, paths
from pipeline.common.errors import DataError, LeakError, ModelError
from pipeline.folds import split_table
from pipeline.stages import other_classes

SUBTYPE, OTHERS = "NPM1", ["PML_RARA", "CBFB_MYH11"]
TRAINED = [0, 2]
HEAT, INTERCEPT, SLOPE = [2.0, 0.5], [-6.1, -6.7], [2.0, 4.0]  # the threshold lies among the patients


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, config.Config]:
    """Two folds' networks of one subtype, and of `evaluate` what is read of it."""
    folder = tmp_path_factory.mktemp("classes")
    settings = config.load(
        write_params(
            folder / "params.yaml",
            {"subtypes": [OTHERS[0], SUBTYPE, OTHERS[1]], "folds": TRAINED[::-1], "split.n_folds": FOLDS, "pack.px": PX},
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained_networks.build(settings.subtypes, [SUBTYPE])
        report = paths.report(SUBTYPE, "published")
        report.mkdir(parents=True)
        tested = [(f"c{n}", 0, n == 0) for n in range(6)] + [(f"N{n}", 1, n < 4) for n in range(6)]
        pd.DataFrame(tested, columns=["patient", "label", "called"]).to_csv(report / "patients.csv", index=False)
        folds = {"fold": TRAINED, "temperature": HEAT, "intercept": INTERCEPT, "slope": SLOPE}
        pd.DataFrame(folds).to_csv(report / "folds.csv", index=False)
        (report / "metrics.json").write_text(json.dumps({"patient_auroc": {"value": 0.5, "low": 0.1, "high": 0.9}}))
    return folder, settings


def by_hand(name: str) -> int:
    """Patients of another class whom the mean of the trained folds' networks calls the subtype."""
    from pipeline.networks import model

    table = pd.read_parquet(paths.cell_rows(name))
    logits = np.zeros(len(table))
    for fold, heat in zip(TRAINED, HEAT, strict=True):
        place = paths.fold(SUBTYPE, "published", fold)
        network = model.build(json.loads((place / "spec.json").read_text()))
        network.load_weights(place / "model.weights.h5")
        logits += model.logits(network, np.load(paths.cells(name))) / heat / 2
    means = pd.Series(logits).groupby(table["patient"]).mean()
    assert len(means) == PATIENTS
    return int((np.mean(INTERCEPT) + np.mean(SLOPE) * means > 0).sum())


def test_own_classes_are_those_tested_and_the_others_are_all_asked(
    chosen: tuple[Path, config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = chosen
    monkeypatch.chdir(folder)
    other_classes.run(settings, [SUBTYPE], ["published"])
    file = paths.other_classes(SUBTYPE, "published")
    first, found = file.read_bytes(), pd.read_csv(file).set_index("class")
    assert found.index.tolist() == settings.classes
    assert found.loc[["control", SUBTYPE], ["how", "patients", "called"]].to_numpy().tolist() == [
        ["held out", 6, 1],
        ["held out", 6, 4],
    ]
    for name in OTHERS:
        assert found.loc[name, ["how", "patients", "called"]].tolist() == ["never trained on", PATIENTS, by_hand(name)]
        assert 0 < found.loc[name, "low"] < found.loc[name, "share"] < 1
    assert len(pd.read_parquet(paths.cell_rows(OTHERS[0]))) == PATIENTS * IMAGES
    other_classes.run(settings, [SUBTYPE], ["published"])
    assert file.read_bytes() == first
    metrics = paths.report(SUBTYPE, "published") / "metrics.json"
    before = metrics.read_text()
    metrics.write_text(before.replace("patient_auroc", "leaked_patient_auroc"))
    other_classes.run(settings, [SUBTYPE], ["published"])
    assert pd.read_csv(file)["how"].tolist() == [
        "seen by the search",
        "never trained on",
        "seen by the search",
        "never trained on",
    ]
    metrics.write_text(before)


def test_what_has_seen_who_is_asked_and_what_is_no_network_is_one_line(
    chosen: tuple[Path, config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = chosen
    monkeypatch.chdir(folder)
    weights = paths.fold(SUBTYPE, "published", 2) / "model.weights.h5"
    kept = weights.read_bytes()
    weights.write_bytes(b"none")
    with pytest.raises(ModelError, match="fold-2: spec and weights do not make a network"):
        other_classes.run(settings, [SUBTYPE], ["published"])
    weights.write_bytes(kept)
    with pytest.raises(DataError, match=r"published/folds\.csv: not of the folds in params\.yaml; run `dvc repro evaluate`"):
        other_classes.run(settings.model_copy(update={"folds": [0]}), [SUBTYPE], ["published"])
    split = pd.read_csv(paths.split_table(SUBTYPE), **split_table.CSV_FORMAT)
    split.assign(fold=(split["fold"] + 1) % FOLDS).to_csv(paths.split_table(SUBTYPE), index=False)
    with pytest.raises(
        LeakError, match=r"fold-0: trained by another split than data/splits/NPM1\.csv; `dvc repro` trains it again"
    ):
        other_classes.run(settings, [SUBTYPE], ["published"])
