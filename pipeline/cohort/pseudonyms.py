"""Keyed names in place of patients' own, where `ingest.pseudonyms` asks for them.

PSEUDONYMS_DIR is a folder outside this repository that holds the `key` and gets the table of who is who. A pseudonym is the
beginning of HMAC-SHA256 of the name under that key: the same patient has the same pseudonym in every release, and without the
key nobody can try names. File names that say more than a number, or a number of the patient's, are replaced too, and files that
are no images, or whose tags name the patient, are not taken in: their bytes are never changed.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from PIL import ExifTags, Image, ImageSequence

from pipeline.cohort.trees import NotCopied
from pipeline.common import environment
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError, DataError
from pipeline.common.files import in_one_step
from pipeline.names import image_paths, patient_names

DIR, KEY, TABLE = "PSEUDONYMS_DIR", "key", "table.csv"
_FEWEST_KEY_CHARACTERS = 32
_LENGTH = 10  # characters of five bits: among a million patients the chance of two alike is 1 in 2,000, and is checked
_PLAIN_FILE = re.compile(r"image_(\d+)\.(?:tiff?|png|jpe?g)", re.IGNORECASE)
_ALIKE = "{}: two names have this pseudonym; make another key, and ingest everything again"
_TELLING_DIGITS = 4  # fewer stand in another number by chance
_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}  # behind which a file may go on
_EXTENSION = re.compile(r"\.[A-Za-z]{1,5}$")


class Names(Protocol):
    """How patients and files are called from `ingest` on."""

    def patient(self, own: str) -> str:
        """The name of a patient."""

    def require_distinct(self, own: Iterable[str]) -> None:
        """Get to know the patients of a class.

        Raises:
            DataError: two of them are one under the names they get, and nobody could tell that from these.
        """

    def path(self, below: str) -> str:
        """`<patient>/<image>`, whatever lies how deep."""

    def checked(self, below: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """A file's content, if it may be taken in.

        Raises:
            NotCopied: why not.
        """

    def hide(self, text: str) -> str:
        """A message without the names that are hidden."""

    def keyed(self, digest: str) -> str:
        """A digest of what holds names, by which nobody can try names that are hidden."""

    def write_table(self) -> None:
        """Write down who is who, where that is kept."""


class OwnNames:
    """Everything keeps its name."""

    def patient(self, own: str) -> str:
        """As it is."""
        return own

    def require_distinct(self, own: Iterable[str]) -> None:
        """`validate` sees them as they are."""

    def path(self, below: str) -> str:
        """As it is."""
        return below

    def checked(self, below: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """As it is."""
        return chunks

    def hide(self, text: str) -> str:
        """As it is."""
        return text

    def keyed(self, digest: str) -> str:
        """As it is."""
        return digest

    def write_table(self) -> None:
        """There is none."""


class Pseudonyms:
    """Keyed names; what was named is remembered until the table is written, and what stands in the table is kept to."""

    def __init__(self, folder: Path) -> None:
        self._key = _key(folder / KEY)
        self._table = folder / TABLE
        self._patients: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._of_identity = self._known()

    def patient(self, own: str) -> str:
        """P and ten letters or digits; of all spellings of a name those that the first got."""
        if own not in self._patients:
            who = patient_names.identity(own)
            name = self._of_identity.get(who) or self._keyed("patient", patient_names.tidy(own), "P")
            if any(name == other for known, other in self._of_identity.items() if known != who):
                raise DataError(_ALIKE.format(name))
            self._of_identity[who] = self._patients[own] = name
        return self._patients[own]

    def require_distinct(self, own: Iterable[str]) -> None:
        """Two folders of one pseudonym would become one without a word."""
        own = list(own)
        called = Counter(self.patient(name) for name in own)
        for name, folders in called.items():
            if folders > 1:
                self.write_table()
                raise DataError(
                    f"{name}: {folders} folders of a class are this one patient, spelled in ways that differ in case, in the "
                    f"form of an accent or in blanks; make them one folder in the source. {self._table} says which they are"
                )

    def path(self, below: str) -> str:
        """A file's name stays if it is `image_<number>.tif` or such, the number not the patient's (outside folders: any's)."""
        first, *rest = below.split("/")
        if not rest:
            return self._file(first, self._patients)
        return "/".join([self.patient(first), *(self._file(part, [first]) for part in rest)])

    def checked(self, below: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Images only, and none whose tags name the patient (any, if it lies in nobody's folder)."""
        patient, _, name = below.rpartition("/")
        if not image_paths.is_image_name(name):
            raise NotCopied("not an image, and ingest.pseudonyms is on")
        content = b"".join(chunks)
        said = "\n".join(_text_of_tags(content))
        if any(_mentions(said, own) for own in ([patient.split("/")[0]] if patient else self._patients)):
            raise NotCopied("its tags name the patient, and ingest.pseudonyms is on; remove them")
        yield content

    def hide(self, text: str) -> str:
        """Every name given so far is replaced, longest first."""
        for own, name in sorted({**self._files, **self._patients}.items(), key=lambda item: -len(item[0])):
            text = _mention(own).sub(name, text)
        return text

    def keyed(self, digest: str) -> str:
        """HMAC-SHA256 of it."""
        return hmac.new(self._key, b"digest\0" + digest.encode(), hashlib.sha256).hexdigest()

    def write_table(self) -> None:
        """For the owner's eyes only; patients of earlier runs stay in it."""
        rows = {**_rows(self._table), **self._patients, **self._files}
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerows([("name", "pseudonym"), *sorted(rows.items())])
        with in_one_step(self._table, mode=0o600) as unfinished:
            unfinished.write_text(text.getvalue(), encoding="utf-8", newline="\n")

    def _file(self, own: str, patients: Iterable[str]) -> str:
        plain = _PLAIN_FILE.fullmatch(own)
        if plain and not any(_tells(plain[1], patient) for patient in patients):
            return own
        extension = _EXTENSION.search(own)
        return self._named_file(own) + (extension.group().lower() if extension else "")

    def _known(self) -> dict[str, str]:
        """Identity -> pseudonym of the patients in the table, as far as they are by this key, from one of their spellings."""
        rows = sorted(_rows(self._table).items(), reverse=True)  # of two pseudonyms the first spelling's counts
        by_key = (
            (own, name)
            for own, name in rows
            if name in {self._keyed("patient", way, "P") for way in (own, patient_names.tidy(own))}
        )
        return {patient_names.identity(own): name for own, name in by_key}

    def _named_file(self, own: str) -> str:
        if own not in self._files:
            name = self._keyed("file", own, "file_")
            if name in self._files.values():
                raise DataError(_ALIKE.format(name))
            self._files[own] = name
        return self._files[own]

    def _keyed(self, what: str, own: str, start: str) -> str:
        digest = hmac.new(self._key, f"{what}\0".encode() + os.fsencode(own), hashlib.sha256).digest()
        return start + base64.b32encode(digest).decode()[:_LENGTH]


def of(config: Config) -> Names:
    """Those that params.yaml asks for.

    Raises:
        ConfigError: PSEUDONYMS_DIR is not set, lies in this repository, or holds no key.
    """
    if not config.ingest.pseudonyms:
        return OwnNames()
    if not os.environ.get(DIR, ""):
        raise ConfigError(f"{DIR} is not set; ingest.pseudonyms needs a folder outside this repository for key and table")
    folder = environment.place(DIR).resolve()
    if folder.is_relative_to(Path.cwd().resolve()):
        raise ConfigError(f"{DIR}: {folder} lies in this repository, where git or DVC could take it; name a folder elsewhere")
    if not folder.is_dir():
        raise ConfigError(f"{DIR}: {folder} is not a folder; make it, for your eyes only: mkdir --mode=700 {folder}")
    return Pseudonyms(folder)


def _key(file: Path) -> bytes:
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"{DIR}: {file} is open to other accounts; it is for your eyes only: chmod 600 {file}")
        key = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        make = f"(umask 077; openssl rand -hex 32 > {file})"
        raise ConfigError(f"{DIR}: {file} is not there; bring the cohort's key, or make one for a new cohort: {make}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{DIR}: {file} cannot be read ({type(error).__name__}); it is a line of text") from None
    if len(key) < _FEWEST_KEY_CHARACTERS:
        raise ConfigError(f"{DIR}: {file} holds fewer than {_FEWEST_KEY_CHARACTERS} characters; names could be guessed")
    return key.encode()


def _rows(table: Path) -> dict[str, str]:
    if not table.exists():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["pseudonym"] for row in csv.DictReader(file)}


def _mention(own: str) -> re.Pattern[str]:
    """A name as a word of its own: ALW, but not in `always`."""
    return re.compile(rf"(?<![^\W_]){re.escape(own)}(?![^\W_])", re.IGNORECASE)


def _mentions(text: str, own: str) -> bool:
    return bool(_mention(unicodedata.normalize("NFC", own)).search(unicodedata.normalize("NFC", text)))


def _tells(number: str, patient: str) -> bool:
    """Whether an image's number is one in its patient's name, or all of them in a row; leading zeros aside."""
    runs = re.findall(r"\d+", patient)
    number, *theirs = (digits.lstrip("0") or "0" for digits in (number, *runs, *(["".join(runs)] if runs else [])))
    return any(
        number == own or (min(len(number), len(own)) >= _TELLING_DIGITS and (number in own or own in number)) for own in theirs
    )


def _text_of_tags(content: bytes) -> list[str]:
    """What an image's pages say in words beside their pixels; all of a file that cannot be read (it may be quarantined)."""
    said: list[str] = []
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            for page in ImageSequence.Iterator(image):
                if page.format == "PNG":
                    page.load()  # words may also stand behind the pixels
                exif = page.getexif()
                values = [*getattr(page, "tag_v2", {}).values(), *page.info.values(), *exif.values()]
                said += _words([values, exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)])
                said += _words([part[1] for name in ("applist", "private_chunks") for part in getattr(page, name, [])])
            if image.format in _ENDS:
                said += _words(content.rpartition(_ENDS[image.format])[2])
    except Exception:  # Pillow raises whatever its parsers stumble over
        said += [*_words(content), *_words(content[1:])]
    return said


def _words(value: object) -> Iterator[str]:
    """The text in a tag's value, read in every way in which programs write it."""
    match value:
        case bytes():
            yield value.decode("latin-1")
            yield value.decode(errors="ignore")
            for encoding in ("utf-16-le", "utf-16-be"):
                text = value.decode(encoding, errors="ignore")
                yield text
                yield re.sub("[\u2000-\uffff]", " ", text)  # other bytes beside a name look like a letter that belongs to it
        case str():  # Pillow takes a tag's bytes for Latin-1
            yield value
            yield from _words(value.encode("latin-1", errors="ignore"))
        case dict():
            yield from _words(list(value.values()))
        case list() | tuple():
            numbers = [part for part in value if isinstance(part, int) and 0 <= part < 256]
            if numbers and len(numbers) == len(value):
                yield from _words(bytes(numbers))
            else:
                for part in value:
                    yield from _words(part)
