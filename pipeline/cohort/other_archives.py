"""Archives that are sound and not for us to unpack: what they are, and the commands that do it."""

from __future__ import annotations

import re
import shlex
import zipfile
from pathlib import Path

from pipeline.common import paths

# Numbers of methods of compression: APPNOTE.TXT 6.3.10, 4.4.5. Those of unzip 6.0 are marked.
_METHODS = {
    **{1: "Shrink", 6: "Implode", 9: "Deflate64, as Windows packs more than 2 GB"},
    **{20: "Zstandard", 93: "Zstandard", 94: "MP3", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption"},
}
_BY_UNZIP = (1, 6, 9)
_OURS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_TAR_MAGIC_AT = 257
_END_AT_MOST = 22 + 65535  # bytes: a ZIP's last record, and the comment behind it

# How a file begins -> what it is, and the command that unpacks it; {archive} and {folder} are put in.
_TAR = "mkdir -p {folder} && tar -xf {archive} -C {folder}"
_SEVEN_ZIP = "7z x -o{folder} {archive}"
_BEGINNINGS: list[tuple[bytes, str, str]] = [
    (b"\x1f\x8b", "packed by gzip (.tar.gz)", _TAR),
    (b"BZh", "packed by bzip2 (.tar.bz2)", _TAR),
    (b"\xfd7zXZ\0", "packed by xz (.tar.xz)", _TAR),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard (.tar.zst)", _TAR),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _SEVEN_ZIP),
    (b"Rar!\x1a\x07", "a RAR archive", _SEVEN_ZIP),
    (b"MSCF", "a cabinet of Windows", _SEVEN_ZIP),
]
_PART = re.compile(r"(.*)\.(?:z\d\d|(?:zip|7z|rar|tar|tgz|tar\.gz)\.\d{3}|part\d+\.rar|r\d\d)", re.IGNORECASE)


def refusal(path: Path) -> str:
    """Why a file that should be a ZIP archive is not read, where that is no damage; "" where it may be one."""
    with path.open("rb") as file:
        start = file.read(_TAR_MAGIC_AT + 5)
    if part := _PART.fullmatch(path.name):
        return _of_parts(path, part[1])
    for magic, what, command in _BEGINNINGS:
        if start.startswith(magic):
            return _say(path, f"{what}, not a ZIP archive", command)
    if start[_TAR_MAGIC_AT:] == b"ustar":
        return _say(path, "a tar archive, not a ZIP archive", _TAR)
    return _of_parts(path, path.stem) if _is_last_part(path) else ""


def is_web_page(path: Path) -> bool:
    """Whether a server answered with something for people."""
    with path.open("rb") as file:
        return file.read(1024).lstrip().lower().startswith((b"<!doctype", b"<html"))


def unknown_method(path: Path, number: int) -> str:
    """Why an archive whose members are packed like this is not unpacked; "" where it is."""
    if number in _OURS:
        return ""
    command = "unzip -d {folder} {archive}" if number in _BY_UNZIP else _SEVEN_ZIP
    return _say(
        path, f"packed by {_METHODS.get(number, f'method {number}')}, which Python does not unpack; it is not damaged", command
    )


def encrypted(path: Path, member: str) -> str:
    """Of an archive with a password."""
    return _say(path, f"{member} is encrypted", f"{_SEVEN_ZIP}, which asks for the password")


def _of_parts(path: Path, stem: str) -> str:
    first = next((other for other in sorted(path.parent.iterdir()) if _is_first(other, stem)), path)
    return _say(path, "one part of an archive of several", f"{_SEVEN_ZIP}, with all parts in one folder", first)


def _is_first(other: Path, stem: str) -> bool:
    return other.name.lower() in {
        f"{stem}{end}".lower() for end in (".zip", ".zip.001", ".7z.001", ".part1.rar", ".part01.rar")
    }


def _is_last_part(path: Path) -> bool:
    """Whether a ZIP's last record says that the archive began in another file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_AT_MOST))
        end = file.read()
    at = end.rfind(b"PK\5\6")
    return at >= 0 and int.from_bytes(end[at + 4 : at + 6], "little") not in (0, 0xFFFF)


def _say(path: Path, what: str, command: str, archive: Path | None = None) -> str:
    folder = _beside(path)
    filled = command.format(archive=shlex.quote(str(archive or path)), folder=shlex.quote(str(folder)))
    return f"{path}: {what}; unpack it: {filled}; then set ingest.source: folder and COHORT_DIR={shlex.quote(str(folder))}"


def _beside(path: Path) -> Path:
    """Where to unpack: beside the archive, but for what is in our own folder of downloads, which does not stay."""
    if path.is_relative_to(paths.DOWNLOADS):
        return Path("..") / path.relative_to(paths.DOWNLOADS).parts[0]
    name = re.sub(r"(\.(tar|zip|7z|rar|part\d+))?\.[^.]*$", "", path.name, flags=re.IGNORECASE) or path.name
    return path.with_name(name if name != path.name else f"{name}-unpacked")
