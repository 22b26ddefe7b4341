"""Files and folders are there whole or not at all, also where two write the same at once."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.common import files
from pipeline.common.errors import DataError, refusal
from pipeline.scoring.results_folder import gathered

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


@contextmanager
def ended_between_the_renames(monkeypatch: pytest.MonkeyPatch, made: Path, killed: bool = True) -> Iterator[None]:
    """What is to take the place of `made` ends when that has been moved aside; where killed nothing is cleared away."""
    rename = Path.rename

    def ending(path: Path, target: Path) -> Path:
        if target != made or not path.name.endswith(".unfinished"):
            return rename(path, target)
        if killed:
            patched.setattr(Path, "rename", lambda *_: None)
            patched.setattr(files.shutil, "rmtree", lambda *_, **__: None)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", ending)
        with pytest.raises(KeyboardInterrupt):
            yield


def fill(made: Path, text: str, unfinished: Path | None = None) -> None:
    with files.folder_in_one_step(made, unfinished) as folder:
        put(folder, "a", text)
        if text == "not taken":
            raise ValueError(text)


def test_a_folder_that_a_kill_left_moved_aside_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, aside = tmp_path / "made", tmp_path / ".made.former-unfinished"
    fill(made, "former")
    with ended_between_the_renames(monkeypatch, made):
        fill(made, "latter")
    assert (made.exists(), aside.exists()) == (False, True)
    with pytest.raises(ValueError, match="not taken"):
        fill(made, "not taken")
    assert texts(made) == {"a": "former"}
    made.rename(aside)  # as a kill leaves it that came later, and somebody then deleted what was made
    with pytest.raises(ValueError, match="not taken"):
        fill(made, "not taken")
    assert not list(tmp_path.iterdir())


def test_an_interruption_while_a_folder_is_moved_aside_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "made"
    fill(made, "former")
    with ended_between_the_renames(monkeypatch, made, killed=False):
        fill(made, "latter")
    assert texts(made) == {"a": "former"}
    assert list(tmp_path.iterdir()) == [made]


def test_after_a_kill_each_folder_that_is_filled_in_one_place_has_its_own_former_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, unfinished = tmp_path / "models/one", tmp_path / "reports/other", tmp_path / "checkpoints/unfinished"
    fill(other, "other", unfinished)
    with ended_between_the_renames(monkeypatch, other):
        fill(other, "latter", unfinished)
    for made, left in ((one, {}), (other, {"a": "other"})):
        with pytest.raises(ValueError, match="not taken"):
            fill(made, "not taken", unfinished)
        assert texts(made) == left
    assert [place.name for place in tmp_path.rglob("*unfinished")] == []


def test_after_a_kill_all_may_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, unfinished = tmp_path / "models/made", tmp_path / "checkpoints/unfinished"
    fill(made, "former", unfinished)
    with ended_between_the_renames(monkeypatch, made):
        fill(made, "latter", unfinished)
    shutil.rmtree(made.parent)
    fill(made, "last", unfinished)
    assert texts(made) == {"a": "last"}
    assert [place.name for place in tmp_path.rglob("*unfinished")] == []


def test_a_mount_is_refused_before_the_work() -> None:
    mount = Path("/dev/shm")
    if not mount.is_mount():
        pytest.skip("there is no mount here that is known")
    with pytest.raises(OSError, match="a mount") as refused, files.folder_in_one_step(mount):
        pytest.fail("hours of work begin")
    assert (refused.value.errno, refused.value.filename) == (errno.EBUSY, str(mount))
    assert refusal(refused.value), "is one line"
    with pytest.raises(DataError, match=r"a mount, .*; name another folder with --output"), gathered(mount):
        pytest.fail("hours of work begin")


def test_what_is_in_the_place_of_a_folder_is_replaced_again_and_again(tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    for put_there in (lambda place: place.symlink_to(elsewhere), lambda place: place.touch()):
        put_there(tmp_path / "made")
        for text in ("former", "latter"):
            fill(tmp_path / "made", text)
        assert texts(tmp_path / "made") == {"a": "latter"}
        shutil.rmtree(tmp_path / "made")
        assert list(tmp_path.iterdir()) == [elsewhere]


@BOTH
def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path, in_one_step: InOneStep) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), in_one_step(tmp_path / "file/made"):
        pytest.fail("is not made")


def test_a_folder_that_cannot_be_moved_aside_is_replaced_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of a lower layer of a container's file system."""
    rename = Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if path == tmp_path / "made" and target.parent == tmp_path and path.exists():
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refusing)
    for text in ("former", "latter"):
        with files.folder_in_one_step(tmp_path / "made") as unfinished:
            put(unfinished, "a", text)
    assert texts(tmp_path / "made") == {"a": "latter"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """What is not there yet, on another file system."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    return other / f"{tmp_path.parent.name}-{tmp_path.name}-unfinished"


def test_a_folder_comes_from_another_file_system_too(tmp_path: Path, elsewhere: Path) -> None:
    made, unfinished = tmp_path / "made", elsewhere
    for text in ("first", "second"):
        with files.folder_in_one_step(made, unfinished) as folder:
            (folder / "below").mkdir()
            put(folder / "below", "one", text)
        assert texts(made / "below") == {"one": text}
        assert [place.name for place in tmp_path.iterdir()] == ["made"]
        assert not unfinished.exists()


def test_a_folder_is_there_until_the_next_has_come_from_another_file_system(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"

    def full(_: Path, copy: Path) -> None:
        assert texts(made) == {"a": "former"}
        raise OSError(errno.ENOSPC, "No space left on device", str(copy))

    fill(made, "former", elsewhere)
    monkeypatch.setattr(files.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        fill(made, "latter", elsewhere)
    assert texts(made) == {"a": "former"}
    assert list(tmp_path.iterdir()) == [made]
    assert not elsewhere.exists()
