"""What a flow run shows of its results in Prefect's pages: figures beside the published ones, pictures, and links."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows import ROOT, mlflow_links
from flows.dag import Stage


def artifact_key(title: str) -> str:
    """The title as a key that Prefect takes: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def publish_results(stages: Sequence[Stage]) -> None:
    """Put the table of results and a page for each subtype that was judged into Prefect's pages, as artifacts."""
    subtypes = [stage.subtype for stage in stages if stage.kind == "evaluate" and _read_figures(stage.subtype)]
    if not subtypes:
        return
    create_table_artifact(
        table=[_make_row(name) for name in subtypes], key="results", description="Measured on test patients, and published"
    )
    for name in subtypes:
        create_markdown_artifact(
            markdown=_make_page(name), key=f"results-{artifact_key(name)}", description=f"{name}: figures and pictures"
        )


def _read_figures(subtype: str) -> dict[str, Any]:
    path = ROOT / "reports" / subtype / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}  # of a network whose search saw its test patients: leaked_...


def _make_row(subtype: str) -> dict[str, Any]:
    figures = _read_figures(subtype)
    keys = ("image_accuracy", "patient_auroc", "patient_sensitivity", "patient_specificity")
    ours = {key.replace("_", " ").replace("auroc", "AUROC"): _format_interval(figures.get(key)) for key in keys}
    return {
        "subtype": subtype,
        **ours,
        "published image accuracy": _published_accuracy(subtype),
        "test patients": figures["patients"],
    }


def _format_interval(figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "not claimed"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _published_accuracy(subtype: str) -> str:
    with (ROOT / "reports" / subtype / "by_class.csv").open(newline="") as file:
        found = [row["accuracy"] for row in csv.DictReader(file) if row["source"] == "published"]
    return f"{float(found[0]):.2f}" if found else "-"


def _make_page(subtype: str) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in _make_row(subtype).items())
    pictures = "\n\n".join(embed_picture(ROOT / "reports" / subtype / "plots" / f"{name}.png") for name in ("roc", "confusion"))
    trainings = [f"- [{name}]({address})" for name, address in mlflow_links.find_trainings(subtype).items()]
    links = [f"- models: {_link_to_models(subtype)}", *trainings, *_links_to_reports()]
    return f"# {subtype}\n\n| figure | value |\n|---|---|\n{rows}\n\n" + "\n".join(links) + f"\n\n{pictures}\n"


def embed_picture(path: Path) -> str:
    """Markdown that holds the PNG file itself; empty where there is no such file."""
    if not path.exists():
        return ""
    return f"![{path.stem}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"


def _link_to_models(subtype: str) -> str:
    _, address = mlflow_links.find_server()
    return f"[{subtype} in MLflow]({address}/#/models/{subtype})" if address else "`make serve` opens MLflow"


def _links_to_reports() -> list[str]:
    address = os.environ.get("REPORTS_URL", "").rstrip("/")
    if not address:
        return ["- page: `reports/index.html`", "- validation: `reports/validation/data_docs/index.html`"]
    return [f"- [page]({address}/index.html)", f"- [validation]({address}/validation/data_docs/index.html)"]
