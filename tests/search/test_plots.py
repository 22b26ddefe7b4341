"""Pictures of a search that has hardly begun."""

from __future__ import annotations

from pipeline.search import plots


def test_no_picture_of_two_trials_is_empty() -> None:
    (axes,) = plots.history([0.7, 0.6], [True, True], {"winner": 1}).axes
    assert [len(line.get_xdata()) for line in axes.lines if line.get_label() == "ran to its end"] == [2]
    (axes,) = plots.cost_front([1e6, 2e6], [0.7, 0.6], {}).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 2]
    (axes,) = plots.importances({}).axes
    assert [text.get_text().startswith("Too few trials") for text in axes.texts] == [True]
    (axes,) = plots.importances({"px": 0.7, "dense": 0.3}).axes
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.7]
