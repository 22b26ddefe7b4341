"""Pictures of results, as matplotlib figures; nothing is shown or saved here, except through `png`.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), which people with any form of colour blindness tell apart.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6E6E6E"


def png(figure: Figure) -> bytes:
    """The picture's bytes; the same figure gives the same bytes (no version, no date inside)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


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


def roc_curves(curves: dict[str, pd.DataFrame], areas: dict[str, float], title: str) -> Figure:
    """Sensitivity against 1 - specificity, one line per level; `curves` have columns fpr, tpr."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for (level, curve), colour in zip(curves.items(), (BLUE, ORANGE), strict=False):
        axes.plot(curve["fpr"], curve["tpr"], color=colour, label=f"{level}: AUROC {areas[level]:.3f}")
    axes.set(title=title, xlabel="1 − specificity", ylabel="sensitivity", aspect="equal")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
