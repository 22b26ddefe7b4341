"""Has the source something new? Compares it with what was last ingested; changes nothing but, if asked, the pinned version.

DVC cannot look into a folder or a service, so whoever wants to know asks here first.
"""

from __future__ import annotations

from typing import Any

from pipeline.cohort import delivery, download, source_digest
from pipeline.common import console, made, params_file, paths
from pipeline.common.config import Config

NEW = 3  # exit status when there is something new


def run(config: Config, take: bool) -> int:
    """Say what the source has; 0: nothing new, `NEW`: something.

    `take` raises `ingest.kaggle.version` in params.yaml to Kaggle's newest, comments kept; the next `ingest` fetches it.
    """
    last = made.values(paths.SOURCE) if paths.SOURCE.exists() else {}
    if config.ingest.source == "kaggle":
        return _kaggle(config, last, take)
    if config.ingest.source == "demo":
        console.say("source: the demo cohort is drawn from params.yaml; nothing new can come from outside")
        return 0
    now = source_digest.ask(config)
    shown = f"{now['files']:,} files (sha256 {str(now['sha256'])[:12]})"
    taken = {**{key: last.get(key) for key in now}, "files": now["files"], "sha256": last.get("delivery")}
    if now == taken:
        console.say(f"source: {shown}, as ingested")
        return 0
    console.say(f"source: {shown}; ingested was {_shown(last)}")
    return NEW


def _shown(last: dict[str, Any]) -> str:
    if not last:
        return "nothing"
    return f"{last['files']:,} files (sha256 {str(last.get('delivery') or 'not known')[:12]})"


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
