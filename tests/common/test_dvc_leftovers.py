"""What DVC leaves on a full disk goes, and what somebody is at work on stays."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc_objects.fs.utils import tmp_fname
from pathspec import GitIgnoreSpec

from pipeline.common import dvc_leftovers, files, paths


def _fresh(path: Path) -> None:
    paths.fresh(path).touch()


def _in_one_step(path: Path) -> None:
    with files.in_one_step(path):
        pass


def _folder_in_one_step(path: Path) -> None:
    with files.folder_in_one_step(path):
        pass


@pytest.mark.parametrize("make", [_fresh, _in_one_step, _folder_in_one_step])
def test_a_half_copy_beside_what_is_written_goes_once_it_no_longer_grows(tmp_path: Path, make: Callable[[Path], None]) -> None:
    left, growing, somebodys = (tmp_path / name for name in (tmp_fname(), tmp_fname(), ".notes.tmp"))
    for file in (left, growing, somebodys):
        file.write_text("half")
    for file in (left, somebodys):
        os.utime(file, (0, 0))
    make(tmp_path / "made")
    assert {path.name for path in tmp_path.iterdir()} == {"made", growing.name, somebodys.name}


@pytest.mark.parametrize(
    ("folder", "goes"),
    [
        ("reports/NPM1/published", True),
        ("reports/call/bags", True),
        ("data/scored/NPM1", False),
        ("data/evaluated/NPM1", False),
        ("data/splits", False),
        ("reports/audit/NPM1", False),
        ("reports/explained/NPM1", False),
    ],
)
def test_where_several_stages_write_what_another_dvc_copies_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, goes: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    dvc_leftovers.remove_half_copies.cache_clear()
    (half := Path(folder) / tmp_fname()).parent.mkdir(parents=True)
    half.touch()
    os.utime(half, (time.time() - 10,) * 2)
    _fresh(half.with_name("made"))
    assert half.exists() is not goes


@pytest.mark.parametrize(
    "name", [tmp_fname(), ".fold-0.unfinished", ".fold-0.former-unfinished"], ids=["half copy", "new", "former"]
)
def test_what_lies_beside_results_for_a_while_is_none_of_them_to_dvc(name: str) -> None:
    ignored = GitIgnoreSpec.from_lines((Path(__file__).parents[2] / ".dvcignore").read_text().splitlines())
    assert ignored.match_file(f"models/NPM1/published/{name}")


def test_a_half_copy_is_none_of_the_files_that_results_are_known_by(tmp_path: Path) -> None:
    for name in ("results.csv", ".notes.tmp", tmp_fname()):
        (tmp_path / name).write_text(name)
    assert set(files.sha256_below(tmp_path)) == {"results.csv", ".notes.tmp"}


@pytest.mark.parametrize("config", [None, "[cache]\n    dir = ../elsewhere\n['remote \"local\"']\n    url = x\n", "[cache"])
def test_a_folder_of_the_run_cache_without_an_entry_goes(tmp_path: Path, config: str | None) -> None:
    dvc = tmp_path / ".dvc"
    cache = tmp_path / "elsewhere" if config and "dir" in config else dvc / "cache"
    empty, just_made, used = (cache / "runs" / "aa" / name for name in ("empty", "just made", "used"))
    for folder in (empty, just_made, used, cache / "files" / "md5" / "0a"):
        folder.mkdir(parents=True)
    dvc.mkdir(exist_ok=True)
    if config:
        (dvc / "config").write_text(config)
    (used / "entry").touch()
    (half := cache / "files" / "md5" / tmp_fname()).touch()
    for path in (empty, used, half, cache / "files" / "md5" / "0a"):
        os.utime(path, (0, 0))
    dvc_leftovers.clear_cache(dvc)
    assert {path.name for path in (cache / "runs" / "aa").iterdir()} == {"just made", "used"}
    assert [path.name for path in (cache / "files" / "md5").iterdir()] == ["0a"]


def test_there_need_be_no_dvc(tmp_path: Path) -> None:
    dvc_leftovers.clear_cache(tmp_path / ".dvc")
    assert not list(tmp_path.iterdir())
