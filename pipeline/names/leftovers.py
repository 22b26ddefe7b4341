"""Files and folders that nobody put there on purpose: litter, and what stands for an image that is not there.

Litter is what file browsers, storage servers and operating systems keep beside files: it says nothing. A stand-in is a cloud
drive's placeholder, or what an interrupted copy left: an image is missing, unless it lies beside it. Both are told from the
path alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HIDDEN = "hidden"  # the kind of litter of which nothing is known but that its name begins with a dot
NOT_THERE = "image not there"

# In lower case. Finder, Windows, Linux, Synology, QNAP, NetApp, editors, version control, sync tools.
_FOLDERS = {
    *("__macosx", ".appledouble", ".trashes", ".spotlight-v100", ".fseventsd", ".temporaryitems", ".documentrevisions-v100"),
    *("network trash folder", "temporary items", "thefindbyfilefolder", "thevolumesettingsfolder", ".resource", ".appledb"),
    *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000", "lost+found", ".trash", ".thumbnails"),
    *("@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", ".snapshot", ".snapshots", "~snapshot", ".zfs"),
    *("@tmp", "@sharebin", ".@__thumb", "@__thumb", ".recycle", ".picasaoriginals", ".xvpics", ".cache"),
    *(".ipynb_checkpoints", "__pycache__", ".git", ".svn", ".hg", ".dvc", ".idea", ".vscode"),
    *(".sync", ".stfolder", ".stversions", ".dropbox.cache", ".owncloudsync", ".tmp.driveupload"),
}
_FILES = {
    *(
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        ".ds_store",
        ".localized",
        "icon\r",
        "icon\uf00d",
        "zbthumbnail.info",
    ),
    *(".apdisk", ".volumeicon.icns", "picasa.ini", ".picasa.ini", ".directory", ".hidden", ".dropbox", ".dropbox.attr"),
    *("autorun.inf", "sync.ffs_db", ".sync.ffs_db", "sync.ffs_lock", "sthumbs.dat"),
    *(".dvcignore", "dvc.yaml", "dvc.lock"),  # what another repository kept with DVC; ours would heed them in data/raw, or stop
}
# What else is known by its form, and how it is called where it is counted.
_FORMS = {
    "Zone.Identifier": re.compile(r".*zone\.identifier(:\$data)?"),
    "alternate data streams": re.compile(r".+\.[a-z0-9]{2,5}[:\uf03a].+"),
    "._*": re.compile(r"\._.*"),
    ".nfs*": re.compile(r"\.(nfs[0-9a-f]{8,}|fuse_hidden[0-9a-f]{8,}|smbdelete.*)"),
    "~$*": re.compile(r"~\$.*|\.~lock\..*#"),
    "@Syno*": re.compile(r".*@syno(resource|eastream)"),
}
_OF_DVC = ".dvc"
_TRASH = re.compile(r"\.Trash-\d+")  # of a user, by number
_PARTIAL_FOLDERS = {".rsync-partial", ".~tmp~", ".tmp.drivedownload"}

_IMAGE = r"(?P<image>.+?\.(?:tiff?|png|jpe?g))"  # of any kind: what was delivered is told by the file itself, if it comes
_DOWNLOAD = "get the download to its end"
# The form of a stand-in's name -> what it is; what brings the image.
_STAND_INS = [
    (rf"\.{_IMAGE}\.icloud", "a placeholder of iCloud", "let Finder download the folder (Download Now)"),
    (rf"{_IMAGE}\.cloud", "a placeholder of odrive", "let odrive sync the folder"),
    (rf"{_IMAGE}\.(?:nextcloud|owncloud)", "a placeholder of Nextcloud or ownCloud", "make the folder available locally"),
    (rf"{_IMAGE}\.rsls", "a placeholder of Resilio Sync", "let it sync the folder"),
    (rf"(?:\.syncthing\.|~syncthing~){_IMAGE}\.tmp", "unfinished, by Syncthing", "let it sync the folder to its end"),
    (rf"\.{_IMAGE}\.~[0-9a-f]+", "unfinished, by Nextcloud or ownCloud", "let it sync the folder to its end"),
    (rf"{_IMAGE}\.!(?:sync|ut|qb|bt)", "an unfinished download", _DOWNLOAD),
    (rf"{_IMAGE}\.(?:crdownload|part|partial|download|opdownload|filepart|aria2|partfile|downloading|gstmp|lftp-pget-status)",
     "an unfinished download", _DOWNLOAD),
    (rf"{_IMAGE}_\.gstmp", "an unfinished download", _DOWNLOAD),
    (rf"{_IMAGE}\.(?!\d{{8}})[0-9a-f]{{8}}(?:\.partial)?", "an unfinished copy, of rclone or AWS", "run it again"),
    (rf"\.{_IMAGE}\.[a-z0-9]{{6}}", "an unfinished copy of rsync", "run rsync again, to its end"),
    (rf"\.(?!_){_IMAGE}(?:[.~_-].*)?", "a hidden file in its place", "copy or download the folder again"),
]  # fmt: skip
_PLAIN = re.compile(r"(?:[\w -]+/)*[\w -]+(?:\.\w{1,5})?")  # a path none of these forms can have: most are, by far
_COMPILED = [(re.compile(form, re.IGNORECASE), what, remedy) for form, what, remedy in _STAND_INS]


@dataclass(frozen=True)
class StandIn:
    """What lies in an image's place: where the image would be, and one line that says so."""

    image: str
    reason: str


def litter(path: str) -> str:
    """The kind of litter that a file or folder is, or lies in; "" if it is none."""
    parts = path.strip("/").split("/")
    for part in parts:
        if part.lower() in _FOLDERS or _TRASH.fullmatch(part):
            return part
    name = parts[-1]
    if name.lower() in _FILES:
        return name.strip()
    if name.lower().endswith(_OF_DVC):
        return f"*{_OF_DVC}"
    if _PLAIN.fullmatch(path):
        return ""
    for kind, form in _FORMS.items():
        if form.fullmatch(name.lower()):
            return kind
    hidden = any(part.startswith(".") for part in parts) and stand_in(path) is None
    return HIDDEN if hidden else ""


def stand_in(path: str) -> StandIn | None:
    """What a file in an image's place stands for; None if it is no such file."""
    if _PLAIN.fullmatch(path):
        return None
    *folders, name = path.split("/")
    for at, folder in enumerate(folders):
        if folder.lower() in _PARTIAL_FOLDERS:
            return StandIn(
                "/".join([*folders[:at], name]), f"{NOT_THERE}: unfinished, in {folder}; run the copy again, to its end"
            )
        if found := _in_place_of_an_image(folder, folders[:at]):
            return found  # Safari keeps an unfinished download in a folder
    return _in_place_of_an_image(name, folders)


def _in_place_of_an_image(name: str, folders: list[str]) -> StandIn | None:
    for form, what, remedy in _COMPILED:
        if found := form.fullmatch(name):
            return StandIn("/".join([*folders, found["image"]]), f"{NOT_THERE}: {what}; {remedy}, and run `dvc repro` again")
    return None
