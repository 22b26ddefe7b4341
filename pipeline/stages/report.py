"""Make reports/index.html, the page a person looks at, from the files of the other stages alone.

One file: pictures and style are inside, nothing is asked of any host, and the same files give the same bytes. So it names no
commit, and no version of MLflow's, which `register` gives later: where that has written its page of verdicts beside this one,
the line on these very results is shown from there (`registry/verdicts_page`).
"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.evaluation import figures, genetics
from pipeline.pages import checklist, rendering, report_candidate, report_cohort, report_every_class, result_tables

TEMPLATE = "report_page.html.j2"
_LIBRARIES = (
    "tensorflow",
    "keras",
    "scikit-learn",
    "scipy",
    "numpy",
    "pandas",
    "pillow",
    "great-expectations",
    "mlflow",
    "dvc",
)


def run(config: Config) -> None:
    """Write the page from the files of the stages before.

    Raises:
        DataError, ModelError: a file is missing, cannot be read, or does not belong to the others.
    """
    subtypes = [report_candidate.collect(config, subtype) for subtype in config.subtypes]
    calls = [report_every_class.call(config, candidate) for candidate in config.call.candidates]
    content: dict[str, Any] = {
        "config": config,
        "control": config.control,
        "aml": genetics.all_known(config.subtypes),
        "threshold": config.evaluate.threshold,
        "percent": f"{100 * config.evaluate.confidence:g} %",
        "folds": sorted(config.folds),
        "levels": figures.LEVELS,
        "all_figures": figures.ALL,
        "subtypes": subtypes,
        "cohort": report_cohort.collect(config),
        "protocol": report_cohort.dealing(config, subtypes, calls),
        "rules": result_tables.rules(c["audit"] for subtype in subtypes for c in subtype["candidates"]),
        "made": _made(config),
        "calls": calls,
        "matrices": report_every_class.matrices(config, calls),
    }
    content["title"] = _title(config)
    content["published"] = any("published" in known["by_class"] for subtype in subtypes for known in subtype["candidates"])
    content["demo"] = content["cohort"]["source"]["source"] == "demo"
    page = rendering.template(TEMPLATE).render(**content, checklist=checklist.items(content))
    files.write(paths.REPORT_PAGE, page)
    console.say(f"report: {paths.REPORT_PAGE}, {len(page.encode()) / 1e6:.1f} MB, opens in any browser")


def _title(config: Config) -> str:
    if genetics.all_known(config.subtypes):
        return "Genetic AML subtypes from single-cell images"
    return f"{', '.join(config.subtypes)} told from {config.control} by single-cell images"


def _made(config: Config) -> dict[str, Any]:
    """The environment that made this page, and the settings that made its figures."""
    if not paths.REQUIREMENTS.is_file():
        raise DataError(f"{paths.REQUIREMENTS}: not there; it is in git: `git checkout {paths.REQUIREMENTS}` brings it back")
    return {
        "lock": files.sha256(paths.REQUIREMENTS),
        "software": {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
        "settings": {
            "evaluate": rendering.settings(config.evaluate.model_dump()),
            "audit": rendering.settings(config.audit.model_dump()),
            "report": rendering.settings(config.report.model_dump()),
        },
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
