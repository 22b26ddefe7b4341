"""What is no ZIP archive, or one that Python does not unpack, is named; the command in the message is run, and does it."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from pipeline.cohort import other_archives
from pipeline.cohort.trees import DamagedError, Folder
from pipeline.cohort.zip_archive import Archive
from pipeline.common import config
from pipeline.common.errors import DataError
from pipeline.common.params_data import ArchiveLimits
from pipeline.stages import ingest

LIMITS = ArchiveLimits(max_files=50, max_file_mb=1, max_total_gb=0.002, max_ratio=100)
FILES = {f"{name}/image_{number}.tif": bytes([number]) * 40_000 for name in ("control/AAA", "NPM1/BBB B") for number in (1, 2)}


def zipped(place: Path, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(place, "w", method) as file:
        for name, content in FILES.items():
            file.writestr(name, content)
    return place


def tarred(place: Path, mode: str = "w") -> Path:
    with tarfile.open(place, mode) as file:  # type: ignore[call-overload]  # its modes are literals
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return place


def called(place: Path, method: int, changed: int = -1) -> Path:
    """A ZIP whose members (or the one of this number) are said to be packed by another method."""
    with zipfile.ZipFile(place) as file:
        starts, at = [info.header_offset for info in file.infolist()], file.start_dir
    data = bytearray(place.read_bytes())
    for number, start in enumerate(starts):
        if changed in (-1, number):
            data[start + 8 : start + 10] = data[at + 10 : at + 12] = method.to_bytes(2, "little")
        at += 46 + sum(int.from_bytes(data[at + k : at + k + 2], "little") for k in (28, 30, 32))
    place.write_bytes(data)
    return place


def refused(place: Path) -> str:
    with pytest.raises(DataError) as caught:
        Archive(place, LIMITS)
    assert not isinstance(caught.value, DamagedError)  # Kaggle's archive would be deleted, and fetched again for ever
    said = str(caught.value)
    assert said.startswith(f"{place}: ")
    assert r"\n" not in said
    return said


def follow(said: str, **options: Any) -> dict[str, bytes]:
    """Run the command that a refusal names, and read what COHORT_DIR is then."""
    found = re.search(
        r"(?:unpack it: |make them one by )(.*?)(?: \(which asks.*?\))?(?:; then| and) set .*?COHORT_DIR=(.*)$", said
    )
    assert found, said
    command, named = found.groups()
    tool = command.split()[0]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed here")
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, **options)
    folder = Path(named.strip("'"))
    tree = Archive(folder, LIMITS) if folder.is_file() else Folder(folder)
    return {path: b"".join(tree.chunks(path)) for path in tree.files("")}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_archive_is_named_whatever_it_is_called(tmp_path: Path, mode: str) -> None:
    said = refused(tarred(tmp_path / "my cohort.zip", mode))
    assert ("a tar archive" if mode == "w" else f"packed by {mode[2:].replace('gz', 'gzip').replace('bz2', 'bzip2')}") in said
    assert follow(said) == FILES


@pytest.mark.parametrize(
    ("method", "name"), [(1, "Shrink"), (9, "Deflate64"), (93, "Zstandard"), (98, "PPMd"), (77, "method 77")]
)
def test_a_method_that_python_does_not_unpack_is_named_before_anything_is_unpacked(
    tmp_path: Path, method: int, name: str
) -> None:
    said = refused(called(zipped(tmp_path / "cohort.zip"), method, changed=1))
    assert f"packed by {name}" in said
    assert "not damaged" in said


def test_deflate64_is_unpacked_by_the_command(tmp_path: Path) -> None:
    place = tmp_path / "cohort.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as file:  # stored blocks are the same in both
        for name, content in FILES.items():
            file.writestr(name, content)
    assert follow(refused(called(place, 9))) == FILES


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed here")
def test_parts_and_passwords_are_named(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    pack = ["zip", "-q", "-r", "-0", "-D"]
    subprocess.run([*pack, "-s", "64k", tmp_path / "parts.zip", "."], cwd=tmp_path / "in", check=True)
    for name in ("parts.zip", "parts.z01"):
        (tmp_path / "parts-whole.zip").unlink(missing_ok=True)
        said = refused(tmp_path / name)
        assert "one part of an archive of several" in said
        assert follow(said) == FILES
    subprocess.run([*pack, "-P", "secret", tmp_path / "closed.zip", "."], cwd=tmp_path / "in", check=True)
    said = refused(tmp_path / "closed.zip")
    assert "is encrypted" in said
    assert follow(said.replace("unzip ", "unzip -P secret ")) == FILES


def test_numbered_parts_are_joined(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").unlink()
    (tmp_path / "x.zip.001").write_bytes(whole[:70_000])
    (tmp_path / "x.zip.002").write_bytes(whole[70_000:])
    assert follow(refused(tmp_path / "x.zip.002")) == FILES


@pytest.mark.parametrize(
    ("start", "name", "what"),
    [
        (b"7z\xbc\xaf\x27\x1c", "c.7z", "a 7z archive, not a ZIP archive; unpack it: 7z x -o{folder}/c {folder}/c.7z; then "),
        (b"Rar!\x1a\x07\x01\0", "c.rar", "a RAR archive, not a ZIP archive; unpack it: 7z x -o{folder}/c {folder}/c.rar; "),
        (gzip.compress(b"x" * 600, mtime=0), "c.gz", "packed by gzip (as .tar.gz is), not a ZIP archive; unpack it: 7z x "),
    ],
)  # fmt: skip
def test_other_archives_are_named(tmp_path: Path, start: bytes, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(start + bytes(600) * (name != "c.gz"))
    assert what.format(folder=tmp_path) in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "what"), [(b" <!DOCTYPE html>", "a web page, not a ZIP archive"), (b"", "empty, not a ZIP archive")]
)
def test_what_came_in_place_of_an_archive_is_fetched_again(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "c.zip").write_bytes(content)
    with pytest.raises(DamagedError, match=f"{what}.*fetch it again"):
        Archive(tmp_path / "c.zip", LIMITS)


def test_what_was_downloaded_is_unpacked_elsewhere_and_the_option_is_named(
    here: Path, params: Callable[[dict[str, Any]], config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = here / ".downloads" / "some-cells-3" / "3.archive"
    place.parent.mkdir(parents=True)
    zipped(place)
    called(place, 9)
    monkeypatch.setattr("pipeline.cohort.download.fetch", lambda *_: place)
    with pytest.raises(
        DataError, match=r"unpack it: unzip -d \.\./some-cells-3 .*; then set ingest\.source: folder and COHORT_DIR=\.\."
    ):
        ingest.run(params({"ingest.source": "kaggle"}))
    assert place.is_file()


def test_the_methods_are_those_of_the_standard() -> None:
    assert not other_archives.unknown_method(ROOT, zipfile.ZIP_LZMA)
