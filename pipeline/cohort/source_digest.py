"""What the source holds, as one digest that names nobody: what DVC sees of a folder that it cannot look into.

It is over the place and the content of every file of the cohort, and over its metadata. A file is read once: while its size,
times and inode stay, its digest comes from a file of this machine's, `paths.KNOWN_CONTENTS`, which is no result.
"""

from __future__ import annotations

import hashlib
import json
import os
import time

from pipeline.cohort import delivered_metadata, delivery, pseudonyms
from pipeline.cohort.pseudonyms import Names
from pipeline.cohort.trees import NotCopied, Tree
from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.common.files import write

State = dict[str, str | int]
_YOUNG_NS = 3 * 10**9  # a file changed within this time may change again and keep its times: they are that coarse on some disks


def ask(config: Config) -> State:
    """What the source of params.yaml holds now, as it stands in data/delivery.json."""
    if config.ingest.source != "folder":  # drawn from params.yaml, or one version, pinned there
        return {**delivery.named(config)}
    names = pseudonyms.of(config)
    with delivery.hiding(names), delivery.opened(config) as tree:
        assert tree is not None
        return of(config, tree, names)


def of(config: Config, source: Tree | None, names: Names) -> State:
    """The same of a source that is open."""
    if source is None or config.ingest.source != "folder":
        return {**delivery.named(config)}
    files, class_folder = delivery.cohort_files(config, source, names)
    metadata = delivered_metadata.content(config, source, class_folder)
    known = _KnownContents()
    total = hashlib.sha256(hashlib.sha256(metadata[1]).digest() if metadata else b"")
    for file in console.track(files, len(files), "looking at the source"):
        total.update(os.fsencode(file.place) + b"\0" + known.sha256(source, file).encode() + b"\0")
    known.write()
    return {**delivery.named(config), "files": len(files), "sha256": names.keyed(total.hexdigest())}


def last_asked(config: Config) -> State:
    """What data/delivery.json says of the source that params.yaml names; empty where it says nothing of it."""
    try:
        state: State = json.loads(paths.DELIVERY.read_text())
    except (OSError, ValueError):
        return {}
    origin = delivery.named(config)
    return state if {key: state.get(key) for key in origin} == origin else {}


def write_down(state: State) -> None:
    """Write data/delivery.json, unless it says so already."""
    text = json.dumps(state, indent=2) + "\n"
    if not paths.DELIVERY.is_file() or paths.DELIVERY.read_text() != text:
        write(paths.DELIVERY, text)


class _KnownContents:
    """Digests of contents, by the files' places, which hold no name that is hidden."""

    def __init__(self) -> None:
        try:
            self._before: dict[str, list[int | str]] = dict(json.loads(paths.KNOWN_CONTENTS.read_text()))
        except (OSError, ValueError, TypeError):  # it is not there, or not what it was
            self._before = {}
        self._now: dict[str, list[int | str]] = {}

    def sha256(self, source: Tree, file: delivery.File) -> str:
        """Of a file's content, or why it cannot be had."""
        if file.missing:
            return file.missing
        stamp = source.stamp(file.path)
        entry = self._before.get(file.place)
        if not (entry and stamp and entry[:-1] == [*stamp]):
            entry = [*stamp, _sha256(source, file.path)]
        if stamp and time.time_ns() - max(stamp[1:3]) > _YOUNG_NS:
            self._now[file.place] = entry
        return str(entry[-1])

    def write(self) -> None:
        """For the next time."""
        if self._now != self._before:
            write(paths.KNOWN_CONTENTS, json.dumps(self._now))


def _sha256(source: Tree, path: str) -> str:
    digest = hashlib.sha256()
    try:
        for chunk in source.chunks(path):
            digest.update(chunk)
    except NotCopied as reason:
        return str(reason)
    return digest.hexdigest()
