"""Curves lie where their figures say: x from the left, y from above, in a square of 200."""

import numpy as np
import pandas as pd

from pipeline.evaluation.pooling import probabilities
from pipeline.pages import charts


def test_a_curve_has_its_line_and_a_band_that_closes() -> None:
    table = pd.DataFrame(
        {"level": "patient", "at": [0.0, 0.5, 1.0], "roc": [0, 0.75, 1], "roc_low": [0, 0.5, 1], "roc_high": [0.25, 1, 1]}
    )
    (drawn,) = charts.curves(table, "roc").values()
    assert drawn["line"] == "0.0,200.0 100.0,50.0 200.0,0.0"
    assert drawn["band"] == "0.0,200.0 100.0,100.0 200.0,0.0 200.0,0.0 100.0,0.0 0.0,150.0"
    assert (charts.diagonal(), charts.flat(0.25)) == ("0.0,200.0 200.0,0.0", "0.0,150.0 200.0,150.0")


def test_a_point_of_the_reliability_diagram_stands_at_its_share_and_the_ticks_at_the_class_mix() -> None:
    bins = pd.DataFrame({"n": [4], "mean_score": [0.25], "share": [0.5], "low": [0.1], "high": [0.9]})
    patients = pd.DataFrame({"label": [1, 0, 0, 0], "logit": 0.0})
    drawn = charts.reliability(bins, patients)
    assert drawn["bins"] == [{"n": 4, "x": "50.0", "share": "100.0", "low": "180.0", "high": "20.0"}]
    moved = f"{200 * probabilities(np.log(1 / 3)):.1f}"  # one of four has the subtype
    assert drawn["ticks"] == {0: [moved] * 3, 1: [moved]}


def test_the_kept_epoch_is_marked_on_the_line_of_validation() -> None:
    history = pd.DataFrame({"fold": 0, "epoch": [1, 2, 3], "loss": [2.0, 1, 0.5], "val_loss": [1.0, 0.5, 1], "kept": [0, 1, 0]})
    drawn = charts.losses(history)
    assert (drawn["last"], drawn["highest"]) == (3, 2.0)
    (fold,) = drawn["folds"]
    assert fold["validation"].split()[1] == f"{fold['kept']['x']},{fold['kept']['y']}" == "100.0,150.0"
    lone = charts.losses(history.head(1).assign(kept=1))  # one epoch is no line
    assert lone["folds"][0]["kept"]["x"] == "0.0"
