"""Files and folders are there whole or not at all, also where two write the same at once."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from pipeline.common import files

InOneStep = Callable[[Path], AbstractContextManager[Path]]
BOTH = pytest.mark.parametrize("in_one_step", [files.in_one_step, files.folder_in_one_step])


def put(place: Path, name: str, text: str) -> None:
    """Into a file, or into a file of a folder."""
    with (place / name if place.is_dir() else place).open("a") as file:
        file.write(text)


def texts(place: Path) -> dict[str, str]:
    if not place.exists():
        return {}
    return {file.name: file.read_text() for file in (place.iterdir() if place.is_dir() else [place])}


@BOTH
def test_who_writes_the_same_waits_and_nothing_half_written_is_ever_there(
    tmp_path: Path, in_one_step: InOneStep, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, go_on, second_began, seen = threading.Event(), threading.Event(), threading.Event(), list[dict[str, str]]()

    def first() -> None:
        with in_one_step(tmp_path / "made") as unfinished:
            put(unfinished, "a", "first, ")
            begun.set()
            assert go_on.wait(5)
            put(unfinished, "a", "whole")

    def second() -> None:
        assert begun.wait(5)
        with in_one_step(tmp_path / "made") as unfinished:
            second_began.set()
            seen.append(texts(tmp_path / "made"))
            put(unfinished, "b", "second")

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    assert not second_began.wait(0.2), "it waits"
    assert texts(tmp_path / "made") == {}
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert [list(one.values()) for one in seen] == [["first, whole"]]
    assert list(texts(tmp_path / "made").values()) == ["second"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]
    assert "made: another process is writing it; this one waits for that" in " ".join(capsys.readouterr().out.split())


@BOTH
def test_what_a_killed_one_left_is_begun_anew(tmp_path: Path, in_one_step: InOneStep) -> None:
    with in_one_step(tmp_path / "made") as unfinished:
        put(unfinished, "a", "cut o")
        unfinished.rename(tmp_path / "left")
        unfinished.mkdir() if (tmp_path / "left").is_dir() else unfinished.touch()
    (tmp_path / "left").rename(unfinished)
    with in_one_step(tmp_path / "made") as unfinished:
        assert not any(texts(unfinished).values())
        put(unfinished, "a", "whole")
    assert list(texts(tmp_path / "made").values()) == ["whole"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


@BOTH
def test_what_fails_leaves_what_was_there(tmp_path: Path, in_one_step: InOneStep) -> None:
    with in_one_step(tmp_path / "made") as unfinished:
        put(unfinished, "a", "before")
    with suppress(ValueError), in_one_step(tmp_path / "made") as unfinished:
        put(unfinished, "a", "half")
        raise ValueError
    assert list(texts(tmp_path / "made").values()) == ["before"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


def test_a_folder_is_never_there_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a while, to delete the former one, is done where nobody looks."""
    deleted, rmtree = list[Path](), shutil.rmtree

    def noted(path: Path, ignore_errors: bool = False) -> None:
        deleted.append(path)
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(files.shutil, "rmtree", noted)
    for text in ("former", "latter"):
        with files.folder_in_one_step(tmp_path / "made") as unfinished:
            put(unfinished, "a", text)
    assert deleted
    assert tmp_path / "made" not in deleted
    assert texts(tmp_path / "made") == {"a": "latter"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_a_kill_left_moved_aside_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, aside, rename = tmp_path / "made", tmp_path / ".former-.made.unfinished", Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == ".made.unfinished":
            monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)  # nothing is cleared away
            raise KeyboardInterrupt
        return rename(path, target)

    def fill(text: str) -> None:
        with files.folder_in_one_step(made) as unfinished:
            put(unfinished, "a", text)
            if text == "not taken":
                raise ValueError(text)

    fill("former")
    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        fill("latter")
    monkeypatch.undo()
    assert (made.exists(), aside.exists()) == (False, True)
    with pytest.raises(ValueError, match="not taken"):
        fill("not taken")
    assert texts(made) == {"a": "former"}
    made.rename(aside)  # as a kill leaves it that came later, and somebody then deleted what was made
    with pytest.raises(ValueError, match="not taken"):
        fill("not taken")
    assert not list(tmp_path.iterdir())


@BOTH
def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path, in_one_step: InOneStep) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), in_one_step(tmp_path / "file/made"):
        pytest.fail("is not made")


def test_a_folder_that_cannot_be_moved_aside_is_replaced_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of a lower layer of a container's file system."""
    rename = Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if path == tmp_path / "made":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refusing)
    for text in ("former", "latter"):
        with files.folder_in_one_step(tmp_path / "made") as unfinished:
            put(unfinished, "a", text)
    assert texts(tmp_path / "made") == {"a": "latter"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


def test_a_folder_comes_from_another_file_system_too(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    made, unfinished = tmp_path / "made", elsewhere / f"{tmp_path.parent.name}-{tmp_path.name}-unfinished"
    for text in ("first", "second"):
        with files.folder_in_one_step(made, unfinished) as folder:
            (folder / "below").mkdir()
            put(folder / "below", "one", text)
        assert texts(made / "below") == {"one": text}
        assert [place.name for place in tmp_path.iterdir()] == ["made"]
        assert not unfinished.exists()
