"""Has the source something new? Compares it with what was last ingested; changes nothing but, if asked, the pinned version.

DVC cannot look into a folder or a service, so whoever wants to know asks here first.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from pipeline.cohort import delivery, download, pseudonyms
from pipeline.cohort.trees import NotCopied, Tree
from pipeline.common import console, params_file, paths
from pipeline.common.config import Config

NEW = 3  # exit status when there is something new


def run(config: Config, take: bool) -> int:
    """Say what the source has; 0: nothing new, `NEW`: something.

    `take` raises `ingest.kaggle.version` in params.yaml to Kaggle's newest, comments kept; the next `ingest` fetches it.
    """
    last = json.loads(paths.SOURCE.read_text()) if paths.SOURCE.exists() else {}
    if config.ingest.source == "kaggle":
        return _kaggle(config, last, take)
    names = pseudonyms.of(config)
    with delivery.hiding(names), delivery.opened(config) as tree:
        if tree is None:
            console.say("source: the demo cohort is drawn from params.yaml; nothing new can come from outside")
            return 0
        now = _digest(config, tree, names)
    if now == last:
        console.say(f"source: {_shown(now)}, as ingested")
        return 0
    console.say(f"source: {_shown(now)}; ingested was {_shown(last) if last else 'nothing'}")
    return NEW


def _digest(config: Config, tree: Tree, names: pseudonyms.Names) -> dict[str, Any]:
    """What `ingest` would write down."""
    digest = delivery.Digest()
    files, class_folder = delivery.cohort_files(config, tree, names)
    _, metadata = delivery.metadata(config, tree, class_folder, names)
    for file in console.track(files, len(files), "reading the source"):
        with suppress(NotCopied):
            for _ in digest.of(file.place, delivery.chunks(tree, file, names)):
                pass
    return {**delivery.named(config), **digest.summary(), "metadata": metadata}


def _shown(summary: dict[str, Any]) -> str:
    metadata = f", metadata {summary['metadata'][:12]}" if summary["metadata"] else ""
    return f"{summary['files']:,} files (sha256 {summary['sha256'][:12]}{metadata})"


def _kaggle(config: Config, last: dict[str, object], take: bool) -> int:
    dataset, pinned = config.ingest.kaggle.dataset, config.ingest.kaggle.version
    newest = download.newest(dataset).version
    if newest > pinned and take:
        params_file.set_value(["ingest", "kaggle", "version"], newest)
        console.say(f"source: {dataset} has version {newest}; params.yaml now says so instead of {pinned}: commit it")
        return NEW
    if newest > pinned:
        console.say(f"source: {dataset} has version {newest}; params.yaml asks for {pinned} (ingest.kaggle.version)")
        return NEW
    console.say(f"source: {dataset} is at version {newest}, and params.yaml asks for {pinned}")
    same = {key: last.get(key) for key in delivery.named(config)} == delivery.named(config)
    return 0 if same else NEW
