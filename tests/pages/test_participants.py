"""Who is left at each step, on a split that fits on one hand."""

import pandas as pd

from pipeline.pages.participants import Step, steps

SPLIT = pd.DataFrame(
    {"patient": list("ABCDEFGH"), "label": [0] * 4 + [1] * 4, "fold": [0, 1, 2, 2] * 2, "images": [1, 2, 3, 4, 10, 20, 30, 40]}
)
COUNTS = [
    {"patients_delivered": 5, "files": 12, "patients": 4, "images": 10},
    {"patients_delivered": 4, "files": 100, "patients": 4, "images": 100},
]


def test_one_network() -> None:
    assert steps(COUNTS, SPLIT, [0], 3, None) == [
        Step("delivered", (5, 4), (12, 100)),
        Step("usable", (4, 4), (10, 100)),
        Step("train", (2, 2), (7, 70), 1),
        Step("val", (1, 1), (2, 20), 1),
        Step("test", (1, 1), (1, 10), 1),
    ]


def test_with_all_folds_everybody_is_tested_once() -> None:
    found = {step.name: step for step in steps(COUNTS, SPLIT, [0, 1, 2], 3, 110)}
    assert found["test"] == Step("test", (4, 4), (10, 100), 3)
    assert found["train"].patients == found["val"].patients == (4, 4)


def test_what_a_network_is_not_trained_on_is_said() -> None:
    found = {step.name: step.at_most for step in steps(COUNTS, SPLIT, [0], 3, 69)}
    assert found == {"delivered": None, "usable": None, "train": 69, "val": None, "test": None}
    assert {step.at_most for step in steps(COUNTS, SPLIT, [0], 3, 70)} == {None}
    (train,) = [step for step in steps(COUNTS, SPLIT, [0, 1, 2], 3, 75) if step.name == "train"]
    assert train.at_most is None  # 100 images together, but no network has more than 70
