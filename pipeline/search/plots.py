"""Pictures of a search: its history, which knobs mattered, and what better networks cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.evaluation.plots import BLUE, GREY, ORANGE


def history(losses: Sequence[float], ended: Sequence[bool], marked: Mapping[str, int]) -> Figure:
    """Draw the loss of every trial by its place in the queue, those given up hollow, and the best so far.

    `marked` names trials to be told apart by their places.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(losses))
    values, whole = np.asarray(losses, dtype=np.float64), np.asarray(ended, dtype=bool)
    axes.plot(places[whole], values[whole], "o", color=BLUE, ms=5, label="ran to its end")
    axes.plot(places[~whole], values[~whole], "o", mfc="none", color=GREY, ms=5, label="given up")
    best = np.fmin.accumulate(np.where(whole, values, np.nan))
    axes.step(places, best, where="post", color=ORANGE, lw=1.4, label="best so far")
    _name(axes, {name: (place, values[place]) for name, place in marked.items()})
    axes.set(xlabel="trial", ylabel="validation loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """Draw a bar a knob: the share of the losses' variance that it explains; of too few trials it is said instead."""
    figure = Figure(figsize=(5.2, 0.6 + 0.3 * max(len(shares), 1)), layout="constrained")
    axes = figure.subplots()
    if not shares:
        axes.set_axis_off()
        said = "Too few trials ran to their end, or all alike:\nnothing tells which settings matter."
        axes.text(0.5, 0.5, said, ha="center", va="center", fontsize=9, transform=axes.transAxes)
        return figure
    names = [name.replace("_", " ") for name in shares][::-1]
    bars = axes.barh(names, list(shares.values())[::-1], color=BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set(xlabel="share of the loss's variance", xlim=(0, 1.12 * max(shares.values(), default=1) or 1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def cost_front(costs: Sequence[float], losses: Sequence[float], marked: Mapping[str, int]) -> Figure:
    """Loss against multiplications for an image; the line joins the networks of which none is both cheaper and better."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    x, y = np.asarray(costs, dtype=np.float64) / 1e6, np.asarray(losses, dtype=np.float64)
    axes.plot(x, y, "o", color=BLUE, ms=5)
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order]) if len(y) else y
    front = order[np.flatnonzero(np.diff(best, prepend=np.inf) < 0)]
    axes.step(x[front], y[front], where="post", color=ORANGE, lw=1.4, label="none is cheaper and better")
    _name(axes, {name: (x[number], y[number]) for name, number in marked.items()})
    axes.set(xlabel="million multiplications for one image", ylabel="validation loss", xscale="log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _name(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Draw a ring and a name at each point; names of neighbours one above the other, with room for them at the edges."""
    axes.margins(x=0.08, y=0.12)
    for number, (name, (x, y)) in enumerate(points.items()):
        axes.plot([x], [y], "o", mfc="none", color=ORANGE, ms=10)
        above = (7, -14, 20)[number % 3]
        axes.annotate(name, (x, y), textcoords="offset points", xytext=(8, above), fontsize=8)
