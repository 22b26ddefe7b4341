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
from urllib.parse import quote

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows import ROOT, mlflow_links
from flows.dag import Stage

_SYNTHETIC = "demo: synthetic cells, whose figures say nothing about leukaemia"


def artifact_key(title: str) -> str:
    """The title as a key that Prefect takes: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def publish_results(stages: Sequence[Stage]) -> None:
    """Put the table of results and a page for each candidate that was judged into Prefect's pages, as artifacts."""
    judged = [stage for stage in stages if stage.kind == "evaluate" and _read_figures(stage)]
    if not judged:
        return
    synthetic = f"; {_SYNTHETIC}" if _is_demo() else ""
    published = any(_published_accuracy(stage) for stage in judged)
    create_table_artifact(
        table=[_make_row(stage, published) for stage in judged],
        key="results",
        description=f"Measured on test patients{', and published' if published else ''}{synthetic}",
    )
    for stage in judged:
        name = f"{stage.subtype} {stage.candidate}"
        reached = _format_interval(_read_figures(stage).get("patient_auroc"))
        about = f"{name}{' (synthetic)' if _is_demo() else ''}: patient AUROC {reached}; figures, pictures, links"
        create_markdown_artifact(markdown=_make_page(stage), key=f"results-{artifact_key(name)}", description=about)


def _report_of(stage: Stage) -> Path:
    return ROOT / "reports" / stage.subtype / stage.candidate


def _read_figures(stage: Stage) -> dict[str, Any]:
    path = _report_of(stage) / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}  # of a network whose search saw its test patients: leaked_...


def _is_demo() -> bool:
    path = ROOT / "data" / "source.json"
    return path.exists() and json.loads(path.read_text())["source"] == "demo"


def _make_row(stage: Stage, published: bool) -> dict[str, Any]:
    """Its figures by name, beside the published one where there is any."""
    figures = _read_figures(stage)
    keys = ("patient_auroc", "patient_sensitivity", "patient_specificity", "image_accuracy")
    of_images = any("image_" in key for key in figures)  # a learner that scores patients alone has none
    ours = {
        key.replace("_", " ").replace("auroc", "AUROC"): _format_interval(figures.get(key))
        if of_images or not key.startswith("image_")
        else "none, of patients"
        for key in keys
    }
    return {
        "subtype": stage.subtype,
        "candidate": stage.candidate,
        **({"cohort": "synthetic"} if _is_demo() else {}),
        "test patients": figures["patients"],
        **ours,
        **({"published accuracy": _published_accuracy(stage) or "-"} if published else {}),
    }


def _format_interval(figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "not claimed"
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"  # fits a phone


def _published_accuracy(stage: Stage) -> str:
    with (_report_of(stage) / "by_class.csv").open(newline="") as file:
        found = [row["accuracy"] for row in csv.DictReader(file) if row["source"] == "published"]
    return f"{float(found[0]):.2f}" if found else ""


def _make_page(stage: Stage) -> str:
    row = _make_row(stage, bool(_published_accuracy(stage)))
    figures = {name: value for name, value in row.items() if name not in ("subtype", "candidate")}  # its title
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    pictures = "\n\n".join(embed_picture(_report_of(stage) / "plots" / f"{name}.png") for name in ("roc", "confusion"))
    found = mlflow_links.find_trainings(stage.subtype, stage.candidate)
    trainings = [f"- training: [{name}]({address})" for name, address in found.items()]
    links = [f"- models: {_link_to_models(stage.subtype)}", *trainings, *_links_to_reports(stage.subtype)]
    table = f"| figure | value |\n|---|---|\n{rows}"
    synthetic = [f"**{_SYNTHETIC[0].upper()}{_SYNTHETIC[1:]}.**"] if _is_demo() else []
    return "\n\n".join([f"# {stage.subtype} {stage.candidate}", *synthetic, table, "\n".join(links), f"{pictures}\n"])


def embed_picture(path: Path) -> str:
    """Markdown that holds the PNG file itself; empty where there is no such file."""
    if not path.exists():
        return ""
    return f"![{path.stem}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"


def _link_to_models(subtype: str) -> str:
    _, address = mlflow_links.find_server()
    return f"[{subtype} in MLflow]({address}/#/models/{subtype})" if address else "`make serve` opens MLflow"


def _links_to_reports(subtype: str) -> list[str]:
    address = os.environ.get("REPORTS_URL", "").rstrip("/")
    if not address:
        return ["- page: `reports/index.html`", "- validation: `reports/validation/data_docs/index.html`"]
    return [
        f"- [{subtype} in the report]({address}/index.html#{quote(subtype)})",
        f"- [validation]({address}/validation/data_docs/index.html)",
    ]
