"""A network put into params.yaml changes that network, and not a character else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.common import config, params_file
from pipeline.common.errors import ConfigError

ENTRY = {
    "first_conv": 96,
    "conv": [64, 256],
    "dense": [64],
    "learning_rate": 3.2e-05,
    "px": 24,
    "pooling": "mean",
    "tuned_on": [f"A{a}{b}" for a in "ABCDEF" for b in "ABCDEFG"] + ["007", "NO"],
}

KEYS = ["candidates", "published", "networks"]


@pytest.mark.parametrize("name", ["params.yaml", "params.kaggle.yaml"])
@pytest.mark.parametrize("subtype", ["PML_RARA", "NPM1", "RUNX1_RUNX1T1"])
def test_all_else_stays(tmp_path: Path, name: str, subtype: str) -> None:
    path = Path(shutil.copy(ROOT / name, tmp_path))
    entry = ENTRY | ({"px": 36} if "kaggle" in name else {})
    params_file.set_value([*KEYS, subtype], entry, path)
    before, after = (ROOT / name).read_text().splitlines(), path.read_text().splitlines()
    changed = [number for number, line in enumerate(after) if line not in before]
    start = next(number for number, line in enumerate(before) if line.startswith(f"      {subtype}:") and "first_conv" in line)
    assert changed == list(range(start, start + len(changed)))
    assert after[: changed[0]] + after[changed[-1] + 1 :] == before[:start] + before[start + 1 :]
    assert max(len(after[number]) for number in changed) <= 120
    assert config.load(path).candidates["published"].networks[subtype].model_dump(exclude_none=True) == entry
    others = config.load(path).candidates["published"].networks | {subtype: None}
    assert others == config.load(ROOT / name).candidates["published"].networks | {subtype: None}


def test_twice_is_as_once_and_a_block_becomes_a_line(tmp_path: Path) -> None:
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    keys = ["NPM1:  # mine", "  first_conv: 64", "  conv: [128]  # few", "  dense: []", "  learning_rate: 0.5", "# after"]
    block = "".join(f"      {key}\n" for key in keys)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(block if "first_conv: 64, conv: [256, 192, 192]" in line else line for line in lines))
    params_file.set_value([*KEYS, "NPM1"], ENTRY, path)
    once = path.read_text()
    params_file.set_value([*KEYS, "NPM1"], ENTRY, path)
    assert path.read_text() == once
    assert "      NPM1:  # mine\n        {first_conv: 96" in once
    assert "}\n      # after\n" in once


def test_a_subtype_without_an_entry_gets_a_line_of_its_own(tmp_path: Path) -> None:
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not (line.startswith("      NPM1:") and "conv" in line)))
    without = path.read_text()
    params_file.set_value([*KEYS, "NPM1"], ENTRY, path)
    assert config.load(path).network_of("NPM1", "published").model_dump(exclude_none=True) == ENTRY
    start = path.read_text().index("      NPM1: {first_conv: 96")
    end = path.read_text().index("}\n", start) + 2
    assert path.read_text()[:start] + path.read_text()[end:] == without


def test_a_number_takes_the_place_of_a_number(tmp_path: Path) -> None:
    path = Path(shutil.copy(ROOT / "params.kaggle.yaml", tmp_path))
    params_file.set_value(["ingest", "kaggle", "version"], 7, path)
    assert path.read_text() == (ROOT / "params.kaggle.yaml").read_text().replace("version: 1 ", "version: 7 ", 1)


def test_an_entry_that_is_not_valid_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    with pytest.raises(ConfigError, match=r"px: 20 does not divide pack\.px"):
        params_file.set_value([*KEYS, "NPM1"], ENTRY | {"px": 20}, path)
    assert path.read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("name", ["NO", "on", "y", "007", "1e5", "12:30", "0o17", "null"])
def test_a_name_that_some_reader_of_yaml_takes_for_another_value_is_quoted(tmp_path: Path, name: str) -> None:
    text = params_file.with_values((ROOT / "params.yaml").read_text(), [(["ingest", "cohort"], name)])
    assert f'  cohort: "{name}"' in text
    (path := tmp_path / "params.yaml").write_text(text)
    assert config.load(path).ingest.cohort == name


@pytest.mark.parametrize(
    "name", ["[2024] cohort", "@lab", "=", "{x", "*AML1", "&a", "-_", "2024-13-45", 'a "b"', "a\\b", "a\x85\x07"]
)
def test_a_name_of_any_letters_is_read_back(name: str) -> None:
    _read_back(name)


@given(st.text(max_size=9) | st.text(alphabet="a1 -:#,[]{}&*!|>'\"%@`=?<~._\\+tn/", max_size=9))
def test_whatever_name_is_put_in_is_read_back(name: str) -> None:
    _read_back(name)


def _read_back(name: str) -> None:
    changes = [(["cohort"], name), (["names"], [name, "x"]), (["folders"], {name: name, "y" * 110: [name, name]})]
    text = params_file.with_values("cohort: x  # comment\nnames: []\nfolders: {}\n", changes)
    for version in ((1, 1), (1, 2)):
        reader = YAML(typ="safe", pure=True)
        reader.version = version
        assert reader.load(text) == {".".join(keys): value for keys, value in changes}
