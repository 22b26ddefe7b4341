"""reports/<subtype>/verdicts.html: what became of the results that lie here; the report's first screen shows the line of each.

The report is the same bytes from the same files, and is made without MLflow. So it names each result by its digest and shows
the part of this page that bears it: the verdict on these very results, or that there is none. None on others can stand there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from pipeline.common import files, paths
from pipeline.registry import gate, mlflow_address, mlflow_server, versions

_TEMPLATE = Path(__file__).with_name("verdicts_page.html.j2")


def write(client: mlflow_server.Client, subtype: str) -> None:
    """Write the page anew, from MLflow; to be called after anything was decided over a model of the subtype."""
    home = mlflow_address.home()
    folders = {root / paths.EVALUATED / subtype for root in (Path(), home)}  # DVC may run an experiment in a copy
    here = {files.md5(file) for folder in folders for file in folder.glob("*.json")}
    of_results = {  # by their digest; of two versions the later
        results: model
        for model in versions.versions(client, subtype)
        if (results := model.tags.get("results_md5")) in here and "verdict" in model.tags
    }
    entries: dict[str, dict[str, Any]] = {}
    for results, model in of_results.items():
        commit, dirty = versions.registered_by(client, model)
        entries[results] = {
            "results": results,
            "candidate": model.tags.get("candidate.name", ""),
            "version": model.version,
            "state": _state(client, model),
            "verdict": model.tags["verdict"],
            "rolled_back": model.tags.get(versions.ROLLED_BACK, ""),
            "since": model.tags.get("champion_since", "")[:10],
            "commit": commit,
            "dirty": dirty,
            "digest": model.tags.get("candidate", ""),
        }
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = template.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    text = page.render(subtype=subtype, entries=list(entries.values()), address=mlflow_server.shown_address())
    files.write(home / paths.verdicts(subtype), text)


def _state(client: mlflow_server.Client, model: versions.Version) -> str:
    """What a version is now: its verdict says what it became, and another may have taken the name since."""
    if versions.CHAMPION in versions.aliases(client, model):
        return versions.CHAMPION
    if versions.ROLLED_BACK in model.tags:
        return "rolled back"
    verdict = model.tags["verdict"].split(":")[0]
    return verdict if verdict in (versions.CHALLENGER, gate.NOT_COMPARABLE) else "was champion"
