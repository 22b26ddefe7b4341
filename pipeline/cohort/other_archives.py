"""Archives that are sound and not for us to unpack: what they are, and the commands that do it."""

from __future__ import annotations

import re
import shlex
import tarfile
import zipfile
from pathlib import Path

from pipeline.common import paths

# Numbers of methods of compression: APPNOTE.TXT 6.3.10, 4.4.5. Those of unzip 6.0 are marked.
_METHODS = {
    **{1: "Shrink", 6: "Implode", 9: "Deflate64, as Windows packs more than 2 GB"},
    **{20: "Zstandard", 93: "Zstandard", 94: "MP3", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption"},
}
_BY_UNZIP, _AES = (1, 6, 9), 99
_OURS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_TAR_MAGIC_AT = 257
_END_AT_MOST = 22 + 65535  # bytes: a ZIP's last record, and the comment behind it

# How a file begins -> what it is, and the command that unpacks it; {archive} and {folder} are put in.
_TAR = "mkdir -p {folder} && tar -xf {archive} -C {folder}"
_UNZIP = "unzip -d {folder} {archive}"
_SEVEN_ZIP = "7z x -o{folder} {archive}"
_BEGINNINGS: list[tuple[bytes, str, str]] = [
    (b"\x1f\x8b", "packed by gzip (as .tar.gz is)", _TAR),
    (b"BZh", "packed by bzip2 (as .tar.bz2 is)", _TAR),
    (b"\xfd7zXZ\0", "packed by xz (as .tar.xz is)", _TAR),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard (as .tar.zst is)", _TAR),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _SEVEN_ZIP),
    (b"Rar!\x1a\x07", "a RAR archive", _SEVEN_ZIP),
    (b"MSCF", "a cabinet of Windows", _SEVEN_ZIP),
]
_PART = re.compile(r"(.*)\.(?:z\d\d|(?:zip|7z|rar|tar|tgz|tar\.gz)\.\d{3}|part\d+\.rar|r\d\d)", re.IGNORECASE)
_FIRST_PARTS = (".7z.001", ".rar.001", ".tar.001", ".tar.gz.001", ".part1.rar", ".part01.rar", ".part001.rar", ".rar")


def refusal(path: Path) -> str:
    """Why a file that should be a ZIP archive is not read, where that is no damage; "" where it may be one."""
    with path.open("rb") as file:
        start = file.read(_TAR_MAGIC_AT + 5)
    if part := _PART.fullmatch(path.name):
        return _of_parts(path, part[1])
    for magic, what, command in _BEGINNINGS:
        if start.startswith(magic):
            return _say(path, f"{what}, not a ZIP archive", command if command != _TAR or _holds_tar(path) else _SEVEN_ZIP)
    if start[_TAR_MAGIC_AT:] == b"ustar":
        return _say(path, "a tar archive, not a ZIP archive", _TAR)
    return _of_parts(path, path.stem) if _is_last_part(path) else ""


def unknown_method(path: Path, number: int) -> str:
    """Why an archive whose members are packed like this is not unpacked; "" where it is."""
    if number in _OURS:
        return ""
    command = _UNZIP if number in _BY_UNZIP else _SEVEN_ZIP
    return _say(
        path, f"packed by {_METHODS.get(number, f'method {number}')}, which Python does not unpack; it is not damaged", command
    )


def encrypted(path: Path, member: str, number: int) -> str:
    """Of an archive with a password, whose member is packed by the method of this number."""
    command = _SEVEN_ZIP if number == _AES else _UNZIP
    return _say(path, f"{member} is encrypted", f"{command} (which asks for the password)")


def beginning(path: Path) -> str:
    """What else a file can be that is no archive: a few words before the reason, "" where nothing is known."""
    with path.open("rb") as file:
        start = file.read(1024).lstrip().lower()
    return "a web page, " if start.startswith((b"<!doctype", b"<html")) else "" if start else "empty, "


def _of_parts(path: Path, stem: str) -> str:
    """Parts are told by their names; those called .z01 and on go with the last one, which is called .zip."""
    there = {other.name.lower(): other for other in path.parent.iterdir()}
    what = "one part of an archive of several: put all in one folder"
    whole = _quoted(path.with_name(f"{stem}-whole.zip"))
    joined = ""
    if last := there.get(f"{stem}.zip".lower()):
        joined = f"zip -s 0 {_quoted(last)} --out {whole}"
    elif f"{stem}.zip.001".lower() in there:
        joined = f"cat {_quoted(path.with_name(stem))}.zip.* > {whole}"
    if joined:
        return f"{path}: {what}, make them one by {joined} and set COHORT_DIR={whole}"
    first = next((there[name] for end in _FIRST_PARTS if (name := f"{stem}{end}".lower()) in there), path)
    return _say(path, what, _SEVEN_ZIP, first)


def _is_last_part(path: Path) -> bool:
    """Whether a ZIP's last record says that the archive began in another file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_AT_MOST))
        end = file.read()
    at = end.rfind(b"PK\5\6")
    return at >= 0 and int.from_bytes(end[at + 4 : at + 6], "little") not in (0, 0xFFFF)


def _say(path: Path, what: str, command: str, archive: Path | None = None) -> str:
    folder = _beside(path)
    filled = command.format(archive=_quoted(archive or path), folder=_quoted(folder))
    return f"{path}: {what}; unpack it: {filled}; then set ingest.source: folder and COHORT_DIR={_quoted(folder)}"


def _holds_tar(path: Path) -> bool:
    """Of Zstandard Python 3.11 does not know, and tar is what it is used for."""
    return tarfile.is_tarfile(path) or path.suffix.lower() in (".zst", ".tzst")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _beside(path: Path) -> Path:
    """Where to unpack: beside the archive, but for what is in our own folder of downloads, which does not stay."""
    if path.resolve().is_relative_to(paths.DOWNLOADS.resolve()):
        return Path("..") / path.resolve().relative_to(paths.DOWNLOADS.resolve()).parts[0]
    name = re.sub(r"(\.(tar|zip|7z|rar|part\d+))?\.[^.]*$", "", path.name, flags=re.IGNORECASE) or path.name
    return path.with_name(name if name != path.name else f"{name}-unpacked")
