"""Pictures of results, as matplotlib figures; nothing is shown here, and saved by `save` alone.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), which people with any form of colour blindness tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.common import files
from pipeline.evaluation.figures import Interval

matplotlib.rcdefaults()  # not as a matplotlibrc here or in somebody's home would have it

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6E6E6E"
_FOUR = (GREY, BLUE, ORANGE, "#009E73")  # of ways to learn
COLOURS = (BLUE, ORANGE)  # of images and of patients


def png(figure: Figure) -> bytes:
    """The picture's bytes; the same figure gives the same bytes (no version, no date inside)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def save(path: Path, figure: Figure) -> None:
    """Write the picture as PNG."""
    files.write(path, png(figure))


def loss_curves(history: pd.DataFrame, title: str) -> Figure:
    """Loss of training and validation by epoch; one pair of lines per fold, the epoch whose weights were kept marked."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, (_, fold) in enumerate(history.groupby("fold")):
        axes.plot(fold["epoch"] + 1, fold["loss"], color=BLUE, lw=1.2, label="" if number else "training")
        axes.plot(fold["epoch"] + 1, fold["val_loss"], color=ORANGE, lw=1.2, label="" if number else "validation")
        best = fold[fold["kept"] == 1].iloc[0]
        axes.plot(best["epoch"] + 1, best["val_loss"], "o", color=ORANGE, label="" if number else "kept")
    axes.set(title=title, xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def confusion_matrices(tables: dict[str, NDArray[np.int64]], names: tuple[str, str]) -> Figure:
    """One `(2, 2)` table of counts per level (image, patient), shaded by the share of the row."""
    figure = Figure(figsize=(3.4 * len(tables), 3.4), layout="constrained")
    for axes, (level, counts) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row in range(2):
            for column in range(2):
                share = shares[row, column]
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]:,}\n{share:.0%}",
                    ha="center",
                    va="center",
                    color="white" if share > 0.6 else "black",
                )
        axes.set(title=f"by {level}", xlabel="called", ylabel="true")
        axes.set_xticks([0, 1], names)
        axes.set_yticks([0, 1], names, rotation=90, va="center")
    return figure


def roc_curves(bands: dict[str, pd.DataFrame], areas: dict[str, Interval], area: str) -> Figure:
    """Sensitivity against 1 - specificity, a line and a band a level; `bands` as `intervals.bands` makes them.

    `area` says what `areas` are, since over several folds the area under the curve is not the AUROC within them.
    """
    figure, axes = _square("1 − specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    _lines(axes, bands, "roc", {level: f"{level}: {area} {value:.3f}" for level, value in areas.items()})
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return figure


def pr_curves(bands: dict[str, pd.DataFrame], areas: dict[str, Interval], shares: dict[str, float]) -> Figure:
    """Precision against recall, a line and a band a level, dotted the share of the subtype: what chance gives."""
    figure, axes = _square("recall (sensitivity)", "precision")
    for level, colour in zip(shares, COLOURS, strict=False):
        axes.axhline(shares[level], color=colour, lw=0.8, ls=":")
    _lines(axes, bands, "pr", {level: f"{level}: AUPRC {area:.3f}" for level, area in areas.items()})
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    return figure


def reliability(table: pd.DataFrame, patients: pd.DataFrame) -> Figure:
    """Share of the subtype by mean score with exact bounds, of `calibration.reliability`; ticks: every patient's score."""
    figure, axes = _square("mean score of the patients, at their class mix", "share of the subtype")
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    reach = np.abs(table[["low", "high"]].to_numpy().T - table["share"].to_numpy())
    axes.errorbar(table["mean_score"], table["share"], yerr=reach, fmt="o", color=BLUE, capsize=3, lw=1)
    for label, height, colour in ((0, -0.04, BLUE), (1, 1.04, ORANGE)):
        own = patients.loc[patients["label"] == label, "score"]
        axes.plot(own, np.full(len(own), height), "|", color=colour, ms=7, alpha=0.7)
    for row in table.itertuples():
        axes.annotate(f"n = {row.n}", (row.mean_score, row.share), textcoords="offset points", xytext=(6, 4), fontsize=7)
    axes.set(xlim=(-0.08, 1.08), ylim=(-0.08, 1.08))
    return figure


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _lines(axes: Axes, bands: dict[str, pd.DataFrame], curve: str, labels: dict[str, str]) -> None:
    for (level, band), colour in zip(bands.items(), COLOURS, strict=False):
        axes.fill_between(band["at"], band[f"{curve}_low"], band[f"{curve}_high"], color=colour, alpha=0.15, lw=0)
        axes.plot(band["at"], band[curve], color=colour, label=labels[level])


def two_states(patients: pd.DataFrame, title: str) -> Figure:
    """Every patient's score now against the one before (`score_before`), both classes; who is off the line changed."""
    figure, axes = _square("score before", "score now")
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for label, (words, colour) in enumerate(zip(("control", "subtype"), COLOURS, strict=True)):
        own = patients[patients["label"] == label]
        axes.plot(own["score_before"], own["score"], "o", color=colour, ms=4, alpha=0.7, label=words)
    axes.set(title=title)
    axes.legend(frameon=False, fontsize=8)
    return figure


def learning_curves(table: pd.DataFrame, words: Mapping[str, str], title: str) -> Figure:
    """Patient AUROC by the number of patients who learned, a line with intervals for each way; `table` as `transfer` has it."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    sizes = sorted(set(table["size"]))
    ways = [way for way in words if way in set(table["way"])]
    for number, way in enumerate(ways):
        own = table[table["way"] == way].sort_values("size")
        places = np.array([sizes.index(size) for size in own["size"]]) + 0.08 * (number - (len(ways) - 1) / 2)
        reach = np.nan_to_num(np.abs(own[["low", "high"]].to_numpy(np.float64).T - own["patient_auroc"].to_numpy()))
        axes.errorbar(
            places, own["patient_auroc"], reach, marker="os^D"[number % 4], ms=5, lw=1.3, capsize=3,
            color=_FOUR[number % 4], label=words[way],
        )  # fmt: skip
    axes.axhline(0.5, color=GREY, lw=1, ls=":")
    axes.set(title=title, xlabel="patients of the subtype who learned", ylabel="patient AUROC", ylim=(0, 1.02))
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
