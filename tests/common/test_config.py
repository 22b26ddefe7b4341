"""Every mistake in params.yaml ends in one line that names the key and what is allowed."""

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, write_params

from pipeline.common import config
from pipeline.common.errors import ConfigError


@pytest.mark.parametrize("name", ["params.yaml", "params.kaggle.yaml"])
def test_both_settings_are_valid(name: str) -> None:
    assert config.load(ROOT / name).subtypes == ["PML_RARA", "NPM1", "CBFB_MYH11", "RUNX1_RUNX1T1"]


def test_the_published_networks_are_the_same_in_both_settings() -> None:
    demo, real = (config.load(ROOT / name) for name in ("params.yaml", "params.kaggle.yaml"))
    for subtype, network in real.candidates["published"].networks.items():
        assert (
            demo.candidates["published"].networks[subtype].model_copy(update={"learning_rate": network.learning_rate})
            == network
        )


POOLED = {"name": "pooled", "quantiles": [0.9], "penalties": [0.1], "inner_folds": 3}
NETWORK = {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}
RESNET = {"kind": "application", "application": "ResNet50", "px": 160, "weights_sha256": "0" * 64}
BAG = {"kinds.bag": ["b"], "candidates.b": {"kind": "bag", "encoder": "efficientnet_lite0", "learner": POOLED}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pack.pixels": 3}, ["pack.pixels", "unknown key"]),
        ({"pack.px": "48"}, ["pack.px", "integer", "'48'"]),
        ({"pack.px": 4}, ["pack.px", "greater than or equal to 8", "4"]),
        ({"pack.px": 8}, ["pack.px", "at least 16"]),
        ({"train.precision": "half"}, ["train.precision", "'auto', 'bfloat16' or 'float32'", "'half'"]),
        ({"train.batch_size": 31}, ["train.batch_size", "multiple of 2"]),
        ({"folds": [0, 7]}, ["folds", "no fold 7", "0 to 4"]),
        ({"folds": [1, 1]}, ["folds", "twice"]),
        (
            {"subtypes": ["NPM1", "BCR_ABL"], "candidates.published.networks": {"NPM1": NETWORK}},
            ["candidates.published.networks", "no network for BCR_ABL"],
        ),
        ({"candidates.two": {"kind": "cnn", "networks": {"default": NETWORK}}}, ["kinds.cnn", "look at two"]),
        ({"kinds.cnn": ["published", "two"]}, ["kinds.cnn", "no candidate two", "published"]),
        ({"kinds.cnn": ["published", "published"]}, ["kinds.cnn", "each once", "published"]),
        ({"candidates.published.kind": "tree"}, ["candidates.published.kind", "'cnn'"]),
        ({"candidates.published.networks.NPM1.first_conv": "8"}, ["candidates.published.networks.NPM1.first_conv", "integer"]),
        (
            {"kinds.bag": ["b"], "candidates.b": {"kind": "bag", "encoder": "none", "learner": POOLED}},
            ["candidates.b.encoder", "no encoder none", "efficientnet_lite0"],
        ),
        (
            {"kinds.bag": ["b"], "candidates.b": {"kind": "bag", "encoder": "e", "learner": {**POOLED, "penalties": [0.0]}}},
            ["candidates.b.learner.penalties.0", "greater than 0"],
        ),
        (
            {"kinds.bag": ["b"], "candidates.b": {"kind": "bag", "encoder": "e", "learner": {**POOLED, "name": "tree"}}},
            ["candidates.b.learner.name", "'tree' is not one of 'pooled', 'instances', 'attention'"],
        ),
        ({"candidates.b": {"encoder": "e"}}, ["candidates.b.kind: missing"]),
        (
            {"encoders.r": {**RESNET, "file": "data/weights/resnet50.h5"}},
            ["encoders.r.file: lies in data/weights", "`dvc repro` writes anew", "data/brought"],
        ),
        ({"call.candidates": ["nobody"]}, ["call.candidates", "of kind bag", "look at nobody"]),
        ({"kinds.bag": ["nobody"], "call.candidates": ["nobody"]}, ["kinds.bag", "no candidate nobody"]),
        ({"call.candidates": ["published"]}, ["call.candidates", "of kind bag", "look at published"]),
        ({**BAG, "call.candidates": ["b", "b"]}, ["call.candidates", "each once", "look at b"]),
        (
            {**BAG, "candidates.b.encoder": "published", "embed_networks": ["published"], "call.candidates": ["b"]},
            ["call.candidates: b learns on vectors by published, a network of its own", "leave it out"],
        ),
        ({"candidates.published.networks.NPM1.px": 20}, ["candidates.published.networks.NPM1.px", "20 does not divide"]),
        ({"train.models": {"NPM1": NETWORK}}, ["train.models", "candidates.published.networks"]),
        ({"train.folds": [0]}, ["train.folds", "is the key folds"]),
        ({"subtypes": ["NPM1", "Default"]}, ["subtypes", "cannot be named Default"]),
        (
            {**BAG, "call.candidates": ["b"], "subtypes": ["NPM1", "patient"]},
            ["subtypes", "cannot be named patient", "call.candidates: []"],
        ),
        ({"subtypes": ["NPM1", "control"]}, ["subtypes", "control is named twice"]),
        ({"subtypes": ["NPM1", "npm1"]}, ["subtypes", "NPM1 is named twice"]),
        ({"control": "validation"}, ["subtypes", "cannot be named validation"]),
        ({"control": "Audit"}, ["subtypes", "cannot be named Audit", "reports/audit"]),
        ({"seed": 2**32}, ["seed", "less than 4294967296"]),
        ({"subtypes": ["a b"]}, ["subtypes.0", "pattern"]),
        ({"subtypes": [7]}, ["subtypes.0", "valid string, not 7; put it in quotes"]),
        ({"ingest.class_folders": {"normal": "healthy"}}, ["ingest.class_folders.normal", "healthy is not a class"]),
        ({"ingest.demo.images_per_patient": [9, 3]}, ["ingest.demo", "images_per_patient must ascend"]),
        ({"ingest.kaggle.dataset": "cells"}, ["ingest.kaggle.dataset", "pattern"]),
        ({"validate.expected": {"ALL": {"patients": 1, "images": 1}}}, ["validate.expected.ALL", "not a class"]),
        ({"audit.permutations": 10}, ["audit.permutations", "no p below 0.0909", "audit.significance is 0.05", "at least 20"]),
        ({"audit.permutations": 19}, ["audit.permutations", "at least 20"]),
        ({"audit.significance": 0.001}, ["audit.permutations: 200", "audit.significance is 0.001", "at least 1000"]),
        ({"train.min_epochs": 99}, ["train.min_epochs", "above train.max_epochs"]),
        ({"register.floors.cnn.image_accuracy": 1.2}, ["register.floors.cnn.image_accuracy", "less than or equal to 1"]),
        (
            {"register.floors.image_accuracy": 0.5},
            ["register.floors.image_accuracy: is register.floors.cnn.image_accuracy now"],
        ),
        ({"register.floors.bag.image_accuracy": 0.5}, ["register.floors.bag.image_accuracy: unknown key"]),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, changes: dict[str, Any], expected: list[str]) -> None:
    path = write_params(tmp_path / "params.yaml", changes)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    message = str(caught.value)
    assert r"\n" not in message
    assert all(part in message for part in [str(path), *expected]), message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("\nseed: 20 ", "\nseed: 20\nseed: 21 ", ["duplicate key", "seed"]),
        ("\nseed: 20 ", "\n", ["seed", "missing"]),
        ("subtypes: [", "subtypes: [[", ["not YAML"]),
        ("learning_rate: 1.0e-4", "learning_rate: 1e-4", None),  # YAML 1.2 reads it as the number it is
    ],
)
def test_the_text_is_read_as_dvc_reads_it(tmp_path: Path, old: str, new: str, expected: list[str] | None) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace(old, new))
    if expected is None:
        assert config.load(path).candidates["published"].networks["PML_RARA"].learning_rate == 1e-4
        return
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert all(part in str(caught.value) for part in expected), caught.value


def test_a_cohort_of_other_classes_needs_no_code(tmp_path: Path) -> None:
    changes = {
        "control": "healthy",
        "subtypes": ["BCR_ABL1"],
        "ingest.source": "folder",
        "candidates.published.networks": {"default": NETWORK},
    }
    assert config.load(write_params(tmp_path / "params.yaml", changes)).classes == ["healthy", "BCR_ABL1"]


def test_as_many_permutations_as_the_message_asks_for_are_enough(tmp_path: Path) -> None:
    for significance, fewest in ((0.05, 20), (0.01, 100), (0.03, 33), (0.1, 10)):
        changes = {"audit.significance": significance, "audit.permutations": fewest}
        assert config.load(write_params(tmp_path / "params.yaml", changes)).audit.permutations == fewest
        with pytest.raises(ConfigError, match=f"at least {fewest}"):
            config.load(write_params(tmp_path / "params.yaml", changes | {"audit.permutations": fewest - 1}))


def test_whom_a_search_saw_is_looked_up_where_it_stands(tmp_path: Path) -> None:
    """Of a learner of bags that is the network behind its vectors, whose entry may be that of all subtypes."""
    networks = {"default": NETWORK, "NPM1": {**NETWORK, "tuned_on": ["A"]}}
    on_networks = {**BAG, "candidates.b.encoder": "published", "embed_networks": ["published"], "call.candidates": []}
    write_params(tmp_path / "params.yaml", {**on_networks, "candidates.published.networks": networks})
    settings = config.load(tmp_path / "params.yaml")
    assert (settings.tuned_on("NPM1", "b"), settings.tuned_on("PML_RARA", "b")) == (["A"], [])
    assert settings.tuned_on_key("NPM1", "b") == "candidates.published.networks.NPM1.tuned_on"
    assert settings.tuned_on_key("PML_RARA", "b") == "candidates.published.networks.default.tuned_on"
    settings = config.load(write_params(tmp_path / "params.yaml", BAG))
    assert settings.tuned_on_key("NPM1", "b") == "candidates.b.encoder"


def test_values_cannot_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        config.load(ROOT / "params.yaml").seed = 3  # type: ignore[misc]  # it is what is tried


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_text().replace("# everything", "# für").encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[" * 1200, "brackets within brackets"),
        ("{a: " * 1200, "brackets within brackets"),
        ("!!float x", "not YAML"),
        ("!!int x", "not YAML"),
        (".nan", "image_um: input should be a finite number"),
        (".inf", "image_um: input should be a finite number"),
        ("[&a [1,1,1,1,1,1,1], &b [*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b], [*c,*c,*c,*c,*c]]", "image_um: input should be"),
    ],
)
def test_what_yaml_can_say_and_a_setting_cannot_be_is_one_short_line(tmp_path: Path, value: str, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("image_um: 24.9", f"image_um: {value}"))
    with pytest.raises(ConfigError, match=said) as refused:
        config.load(path)
    assert len(str(refused.value)) < 400 + len(str(path))
