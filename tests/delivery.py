"""A small delivery as a folder or a ZIP archive, the settings that fit it, and what people's tools leave in one."""

from __future__ import annotations

import zipfile
from pathlib import Path

from test_decoding import PX, cell, tiff

USUAL = {
    "ingest.source": "folder",
    "subtypes": ["NPM1"],
    "candidates.published.networks": {"NPM1": {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}},
    "image_px": PX,
    "split.n_folds": 3,
    "validate.min_images_per_patient": 2,
    "validate.min_patients_per_class": 2,
    "validate.max_quarantined_share": 0.3,
}
FOLDERS = [
    *("__MACOSX", ".AppleDouble", ".Trashes", "$RECYCLE.BIN", "#recycle", "lost+found", "@eaDir", ".ipynb_checkpoints"),
    *("System Volume Information", ".Trash-1000", ".Spotlight-V100", "@Recycle", ".git", "__pycache__"),
]
FILES = [
    *("Thumbs.db", ".DS_Store", "desktop.ini", "._image_1.tif", "Icon\r", "~$notes.docx", ".nfs000000000012ab34"),
    *("image_1.tif:Zone.Identifier", "image_1.tifZone.Identifier", "image_1.tif:com.dropbox.attrs", "image_1.tif@SynoResource"),
]
STAND_INS = {
    ".image_3.tif.icloud": "iCloud",
    "image_3.tif.cloud": "odrive",
    "image_3.tif.nextcloud": "Nextcloud",
    ".image_3.tif.Ab12Cd": "rsync",
    ".image_3.TIF.a1B2c3": "rsync",
    ".rsync-partial/image_3.tif": "unfinished",
    ".syncthing.image_3.tif.tmp": "Syncthing",
    "~syncthing~image_3.tif.tmp": "Syncthing",
    "image_3.tif.crdownload": "unfinished download",
    "image_3.tif.part": "unfinished download",
    "image_3.tif.partial": "unfinished download",
    "image_3.tif.download/image_3.tif": "unfinished download",
    "image_3.tif.filepart": "unfinished download",
    "image_3.tif.6eF5b5dA": "AWS",
    ".image_3.tif": "hidden",
    ".image_3.tif.tmp~": "hidden",
}


def sound(root: Path) -> None:
    """Two classes of three patients, three images each."""
    for patient in ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF"):
        add(root, "control" if patient < "DDD" else "NPM1", patient)


def add(root: Path, class_name: str, patient: str, first: int = 1) -> None:
    for number in range(first, first + 3):
        file = root / class_name / patient / f"image_{number}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tiff(cell(sum(map(ord, class_name + patient)) * 100 + number)))


def packed(root: Path, declared: bool) -> Path:
    """A ZIP of it, whose names are in UTF-8, and do or do not say so."""
    place = root.with_suffix(".zip")
    with zipfile.ZipFile(place, "w") as file:
        for path in sorted(root.rglob("*")):
            file.write(path, path.relative_to(root).as_posix())
    data = bytearray(place.read_bytes())
    for signature, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        at = data.find(signature)
        while not declared and at >= 0:
            data[at + flags + 1] &= ~0x08
            at = data.find(signature, at + 4)
    place.write_bytes(data)
    return place
