"""An archive is judged before a byte of it is unpacked; a folder is read as it is."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT, write_params

from pipeline.cohort.zip_archive import Archive
from pipeline.common import config
from pipeline.common.errors import DataError
from pipeline.common.params_data import ArchiveLimits
from pipeline.stages import ingest

LIMITS = ArchiveLimits(max_files=50, max_file_mb=1, max_total_gb=0.002, max_ratio=100)
NETWORK = {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}
FOLDER = {"ingest.source": "folder", "subtypes": ["NPM1"], "candidates.published.networks": {"NPM1": NETWORK}}


def link(name: str, kind: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


def raw_name(name: str) -> Callable[[bytes], bytes]:
    """Another name of the same length in place of `PLACEHOLDER...`, which `zipfile` itself would not write."""
    return lambda data: data.replace(b"PLACEHOLDER"[: len(name)].ljust(len(name), b"_"), name.encode())


def archive(path: Path, *members: tuple[Any, bytes], change: Callable[[bytes], bytes] = bytes) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("control/AAA/image_1.tif", os.urandom(50))
        for name, content in members:
            file.writestr(name, content)
    path.write_bytes(change(buffer.getvalue()))
    return path


def encrypted(data: bytes) -> bytes:
    """Sets the flag that says so, in every header."""
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            flags = struct.unpack_from("<H", data, at + offset)[0]
            data = data[: at + offset] + struct.pack("<H", flags | 1) + data[at + offset + 2 :]
            at = data.find(signature, at + 1)
    return data


HOSTILE: dict[str, tuple[tuple[Any, bytes], Callable[[bytes], bytes], str]] = {
    "zip slip": (("../../evil.tif", b"x"), bytes, "member 2 (`zipinfo -1` lists them) would land outside the target folder"),
    "slip within": (("control/../../evil.tif", b"x"), bytes, "would land outside the target folder"),
    "absolute": (("/etc/evil", b"x"), bytes, "would land outside the target folder"),
    "drive": (("C:/evil.tif", b"x"), bytes, "would land outside the target folder"),
    "backslash": (("PLACEHOLDER", b"x"), raw_name("..\\evil.tif"), "has backslashes in its name"),
    "link": ((link("control/AAA/image_2.tif"), b"/etc/passwd"), bytes, "is a link"),
    "folder with a content": (("control/BBB/", b"x"), bytes, "is a folder with a content of its own"),
    "device": ((link("control/AAA/image_2.tif", stat.S_IFCHR), b""), bytes, "is neither a file nor a folder"),
    "newline": (("control/AAA/a\nb.tif", b"x"), bytes, "has unprintable characters in its name"),
    "nul": (("PLACEHOLDER", b"x"), raw_name("evil\0xx.tif"), "has unprintable characters in its name"),
    "empty part": (("control//image_1.tif", b"x"), bytes, "has an empty part in its name"),
    "dot": (("./control/AAA/image_3.tif", b"x"), bytes, "has an empty part in its name"),
    "long name": ((f"control/{'n' * 300}.tif", b"x"), bytes, "has a name that no file system takes"),
    "long path": (("/".join(["n" * 200] * 6), b"x"), bytes, "has a name that no file system takes"),
    "large file": (
        ("control/AAA/image_2.tif", bytes(1_000_001)),
        bytes,
        "unpacks to 1 MB, more than ingest.archive.max_file_mb",
    ),
    "encrypted": (("control/AAA/image_2.tif", b"x"), encrypted, "is encrypted"),
    "file and folder": (("control/AAA", b"x"), bytes, "member 2 (`zipinfo -1` lists them) is a file and a folder"),
    "bomb": (("control/AAA/image_2.tif", bytes(900_000)), bytes, "times its size, more than ingest.archive.max_ratio (100)"),
    "name not UTF-8": (
        ("PLACEHOLDER\u00e9", b"x"),
        lambda data: data.replace("\u00e9".encode(), b"\xff\xff"),
        "not a ZIP archive",
    ),
    "cut off": (("control/AAA/image_2.tif", b"x"), lambda data: data[:-40], "not a ZIP archive, or a part of one"),
    "no archive": (("x", b"x"), lambda data: b"hello", "not a ZIP archive, or a part of one"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_whole_and_by_number(tmp_path: Path, kind: str) -> None:
    member, change, expected = HOSTILE[kind]
    path = archive(tmp_path / "cohort.zip", member, change=change)
    with pytest.raises(DataError) as caught:
        Archive(path, LIMITS)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert r"\n" not in str(caught.value)
    assert not re.search("AAA|evil|nnn|a.b.tif", str(caught.value))  # what it is called may be a patient's name
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_twice_too_many_and_too_much_are_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(tmp_path / "twice.zip", ("control/AAA/image_1.tif", b"other"))
    with pytest.raises(DataError, match=r"member 2 \(.*\) has the name of member 1"):
        Archive(twice, LIMITS)
    many = archive(tmp_path / "many.zip", *((f"control/AAA/{n}.tif", b"x") for n in range(60)))
    with pytest.raises(DataError, match=r"holds 61 members, more than ingest\.archive\.max_files \(50\)"):
        Archive(many, LIMITS)
    much = archive(tmp_path / "much.zip", *((f"control/AAA/{n}.tif", os.urandom(900_000)) for n in range(3)))
    with pytest.raises(DataError, match=r"unpacks to 0\.0 GB, more than ingest\.archive\.max_total_gb \(0\.002\)"):
        Archive(much, LIMITS)


@pytest.fixture
def cohort_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good one, below another folder, with Finder's second tree and a metadata file; COHORT_DIR names it."""
    path = tmp_path / "cohort.zip"
    with zipfile.ZipFile(path, "w") as file:
        for n in (1, 2, 10):
            file.writestr(f"set/data/normal/AAA/image_{n}.TIF", f"control {n}")
            file.writestr(f"set/data/NPM1/CCC/image_{n}.tif", f"NPM1 {n}")
            file.writestr(f"__MACOSX/set/data/NPM1/CCC/._image_{n}.tif", b"fork")
        file.writestr("set/metadata.csv", "patient_id,age,bag_label\nCCC,61,NPM1\n")
    monkeypatch.setenv("COHORT_DIR", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def test_an_archive_does_instead_of_a_folder(
    cohort_zip: Path, params: Callable[[dict[str, Any]], config.Config], capsys: pytest.CaptureFixture[str]
) -> None:
    before = cohort_zip.read_bytes()
    ingest.run(params({**FOLDER, "ingest.class_folders": {"normal": "control"}}))
    copies = {path.relative_to("data/raw").as_posix(): path.read_text() for path in Path("data/raw").rglob("*.*")}
    assert copies == {
        **{f"control/AAA/image_{n}.TIF": f"control {n}" for n in (1, 2, 10)},
        **{f"NPM1/CCC/image_{n}.tif": f"NPM1 {n}" for n in (1, 2, 10)},
    }
    patients = pd.read_csv("data/patients.csv", dtype="str", keep_default_na=False)
    assert patients[["patient", "class", "age", "class_listed"]].to_numpy().tolist() == [
        ["CCC", "NPM1", "61", "NPM1"],
        ["AAA", "control", "", ""],
    ]
    assert "1 patients are in the cohort but not in the metadata: AAA" in capsys.readouterr().err
    assert cohort_zip.read_bytes() == before


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_any_compression_is_named(tmp_path: Path, method: int) -> None:
    path = tmp_path / "cohort.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("control/AAA/image_1.tif", os.urandom(5000))
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"image_1\.tif: damaged"):
        list(Archive(path, LIMITS).chunks("control/AAA/image_1.tif"))


def test_hidden_folders_are_folders(tmp_path: Path) -> None:
    tree = Archive(archive(tmp_path / "c.zip", (".cohort/data/x.tif", b"x")), LIMITS)
    assert tree.children(".cohort") == ([".cohort/data"], [])


def test_names_in_the_code_page_of_a_country_are_said_to_be_a_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def placed(name: bytes) -> Callable[[bytes], bytes]:
        return lambda data: data.replace(b"PLACE", name)

    for name, guesses in (("Mü12".encode("cp1252"), 1), ("Mü2".encode(), 0), ("Mü12".encode("cp437"), 1)):
        Archive(archive(tmp_path / "c.zip", ("NPM1/PLACE/x.tif", b"x"), change=placed(name.ljust(5, b"x"))), LIMITS)
        assert ("1 names are in an encoding that it does not say" in capsys.readouterr().err.replace("\n", " ")) == bool(
            guesses
        )


@pytest.mark.parametrize("attributes", [0o40755 << 16, 0x10])
def test_a_folder_is_one_by_its_attributes_too(tmp_path: Path, attributes: int) -> None:
    info = zipfile.ZipInfo("control/BBB")
    info.external_attr = attributes
    tree = Archive(archive(tmp_path / "c.zip", (info, b"")), LIMITS)
    assert tree.children("control") == (["control/AAA", "control/BBB"], [])


def test_a_damaged_member_leaves_nothing_behind(cohort_zip: Path, params: Callable[[dict[str, Any]], config.Config]) -> None:
    cohort_zip.write_bytes(cohort_zip.read_bytes().replace(b"NPM1 10", b"NPM1 1X"))
    with pytest.raises(DataError, match=r"cohort\.zip: set/data/NPM1/CCC/image_10\.tif: damaged \(Bad CRC-32"):
        ingest.run(params({**FOLDER, "ingest.class_folders": {"normal": "control"}}))
    assert not list(Path("data").glob("*"))


def test_metadata_can_be_named_for_a_cohort_that_has_none(
    tmp_path: Path, cohort_zip: Path, params: Callable[[dict[str, Any]], config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ward.csv").write_text("patient,age\nAAA,44\nCCC,62\nZZZ,9\n")
    monkeypatch.setenv("COHORT_METADATA", str(tmp_path / "ward.csv"))
    ingest.run(params({**FOLDER, "ingest.class_folders": {"normal": "control"}}))
    assert pd.read_csv("data/patients.csv")["age"].tolist() == [62, 44]
    monkeypatch.setenv("COHORT_METADATA", str(tmp_path / "gone.csv"))
    with pytest.raises(Exception, match=r"COHORT_METADATA: .*gone\.csv is not a file"):
        ingest.run(params({**FOLDER, "ingest.class_folders": {"normal": "control"}}))


def test_a_cohort_too_large_for_the_disk_is_refused_before_it_is_copied(
    cohort_zip: Path, params: Callable[[dict[str, Any]], config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_SPARE_BYTES", 10**18)
    with pytest.raises(DataError, match=r"data/raw: the images need 0\.00 GB, .* GB are free; make room"):
        ingest.run(params({**FOLDER, "ingest.class_folders": {"normal": "control"}}))
    assert not list(Path("data").glob("*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_fills_up_in_the_middle_is_one_line(tmp_path: Path) -> None:
    """As a user sees it, on a real file system of 2 MB, in a mount namespace of its own."""
    write_params(
        tmp_path / "params.yaml", {**FOLDER, "ingest.source": "demo", "ingest.demo.patients": {"control": 9, "NPM1": 9}}
    )
    script = (
        "mount -t tmpfs -o size=2m tmpfs data && python -m pipeline ingest; status=$?; "
        "ls -A data | sed 's/^/left: /'; exit $status"
    )
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("No space left on device; make room, and run it again")
    assert "Traceback" not in done.stderr
    assert "left" not in done.stdout
