"""What a search found, for people: tables on the terminal, a page in Markdown, pictures. Names of patients are not in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import console, paths
from pipeline.common.params_learning import Network
from pipeline.evaluation import figures, seen_by_search
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.plots import save
from pipeline.search import plots, space
from pipeline.search.optuna_study import Trial

_SHOWN_BEST = 5
_WORDS = {key: figures.words(key, direction=True) for key in figures.keys(figures.COMPARED)}


@dataclass(frozen=True)
class Finalist:
    """A network that was trained again, with several seeds, on the patients whom the search saw."""

    name: str
    place: int | None  # of the trial with the same network, where there is one
    network: Network
    losses: list[float]  # a seed each

    @property
    def mean(self) -> float:
        """The mean loss over the seeds, which decides."""
        return sum(self.losses) / len(self.losses)


@dataclass(frozen=True)
class Result:
    """A search that is over; counts are of control and subtype."""

    subtype: str
    study: str
    fold: int
    leak: bool
    seeds: int
    confidence: float
    seen: tuple[int, int]
    tested: tuple[int, int]
    tuned_on: Mapping[str, Any]
    finalists: Sequence[Finalist]
    winner: str
    costs: Mapping[str, int]  # name -> multiplications for an image
    figures: Mapping[str, Mapping[str, Interval]]  # name -> of the outer fold's test patients
    gains: Mapping[str, Mapping[str, Interval]]  # name -> by how much the winner is higher


def show_best(trials: Sequence[Trial], networks: Sequence[Network]) -> None:
    """Print the best trials so far."""
    ranked = sorted(zip(trials, networks, strict=True), key=lambda pair: pair[0].loss)[:_SHOWN_BEST]
    rows = [[trial.place, trial.loss, trial.state, space.shown(network)] for trial, network in ranked]
    console.table("best trials", ["trial", "loss", "state", "first conv | blocks | dense"], rows)


def show(result: Result) -> None:
    """Print the finalists and the comparison."""
    console.table(
        f"{result.subtype}: finalists, validation loss of {result.seeds} seeds on the patients whom the search saw",
        ["network", "mean", "seeds", "first conv | blocks | dense"],
        [[f.name, f.mean, _spread(f), space.shown(f.network)] for f in result.finalists],
    )
    console.table(_compared(result), ["figure", *result.figures], _rows(result))
    console.say(_claim(result))


def _spread(finalist: Finalist) -> str:
    return f"{min(finalist.losses):.3f} to {max(finalist.losses):.3f}"


def _compared(result: Result) -> str:
    return (
        f"{result.subtype}: {result.tested[0]} + {result.tested[1]} test patients of fold {result.fold}; mean of "
        f"{result.seeds} seeds, {result.confidence:.0%} intervals over patients and seeds"
    )


def _rows(result: Result) -> list[list[str]]:
    rows = [[words, *(f"{of[key]:.3f}" for of in result.figures.values())] for key, words in _WORDS.items()]
    return [*rows, ["multiplications an image", *(f"{result.costs[name] / 1e6:,.1f} million" for name in result.figures)]]


def _claim(result: Result) -> str:
    if result.leak:
        return (
            "LEAK: the search saw these test patients, or an earlier one did that params.yaml's network comes from. The "
            "figures are flattered, and none is claimed, here or, where the winner is applied, by evaluate and report."
        )
    return (
        f"The search saw {result.seen[0]} + {result.seen[1]} other patients; these are claimed of fold {result.fold} and of no "
        "other fold."
    )


def markdown(result: Result) -> str:
    """The page in Markdown, which MLflow shows with the search."""
    finalists = [f"| {f.name} | {_escaped(f.network)} | {f.mean:.4f} | {_spread(f)} |" for f in result.finalists]
    compared = ["| " + " | ".join(row) + " |" for row in _rows(result)]
    gained = [
        f"| {words} | " + " | ".join(f"{of[key]:+.3f}" for of in result.gains.values()) + " |" for key, words in _WORDS.items()
    ]
    parts = [
        f"# Search for {result.subtype}",
        f"**{_claim(result)}** For research only, not for diagnosis.",
        f"## Winner: {result.winner}",
        f"By validation loss, mean of {result.seeds} seeds, on the patients whom the search saw:",
        "\n".join(
            [
                "| network | first conv \\| blocks \\| dense | mean loss | seeds |",
                "|---|---|---|---|",
                *finalists,
            ]
        ),
        f"## On test patients\n\n{_compared(result)}.",
        "\n".join(["| figure | " + " | ".join(result.figures) + " |", "|---" * (len(result.figures) + 1) + "|", *compared]),
    ]
    if result.gains:
        parts += [
            f"By how much {result.winner} is higher on the same patients:",
            "\n".join(
                ["| figure | than " + " | than ".join(result.gains) + " |", "|---" * (len(result.gains) + 1) + "|", *gained]
            ),
        ]
    parts += [
        "## The search",
        "![Loss of the trials](history.png)\n\n![Importance of the knobs](importances.png)\n\n![Loss against cost](front.png)",
        f"Study `{result.study}`; patients seen: {result.tuned_on['patients']}, sha256 `{result.tuned_on['sha256'][:12]}`. "
        "All trials: trials.csv.",
    ]
    return "\n\n".join(parts) + "\n"


def _escaped(network: Network) -> str:
    """The network in short, for a cell of a Markdown table: its bars end no cell."""
    return space.shown(network).replace("|", "\\|")


def metrics(result: Result) -> dict[str, float]:
    """The winner's figures and their bounds as MLflow's metrics; those of a leak say so in their names."""
    flat: dict[str, float] = {}
    for name, interval in result.figures[result.winner].items():
        flat |= figures.flat(name, interval)
    return seen_by_search.named(flat, result.leak)


def write(result: Result, trials: Sequence[Trial], networks: Sequence[Network], importances: Mapping[str, float]) -> Path:
    """Write all files of a search, of trials that have ended, and return their folder."""
    folder = paths.tuned(result.subtype)
    ended = list(zip(trials, networks, strict=True))
    rows = [
        {
            "trial": trial.place,
            "state": trial.state,
            "loss": trial.loss,
            "seconds": trial.seconds,
            "epochs": trial.epochs,
            **{key: value for key, value in trial.notes.items() if key != "given_up"},
            **space.entry(network),
        }
        for trial, network in ended
    ]
    pd.DataFrame(rows).to_csv(paths.fresh(folder / "trials.csv"), index=False)
    position = {trial.place: number for number, (trial, _) in enumerate(ended)}
    marked = {f.name: position[f.place] for f in result.finalists if f.name in result.figures and f.place is not None}
    whole = [trial.state == "complete" for trial, _ in ended]
    losses = [trial.loss for trial, _ in ended]
    ran = [number for number, complete in enumerate(whole) if complete]
    pictures = {
        "history": plots.history(losses, whole, marked),
        "importances": plots.importances(importances),
        "front": plots.cost_front(
            [float(ended[number][0].notes["multiplications"]) for number in ran],
            [losses[number] for number in ran],
            {name: ran.index(number) for name, number in marked.items() if number in ran},
        ),
    }
    for name, picture in pictures.items():
        save(folder / f"{name}.png", picture)
    paths.fresh(folder / "result.json").write_text(json.dumps(_as_json(result), indent=2) + "\n")
    paths.fresh(folder / "result.md").write_text(markdown(result))
    return folder


def was_shown(subtype: str, study: str) -> bool:
    """Whether the figures of a study on the outer fold's test patients were written before."""
    path = paths.tuned(subtype) / "result.json"
    return path.is_file() and json.loads(path.read_text()).get("study") == study


def _as_json(result: Result) -> dict[str, Any]:
    """The result as result.json has it: networks as in params.yaml, null for a loss that is no number."""
    return {
        **{key: value for key, value in asdict(result).items() if key != "finalists"},
        "finalists": [
            {
                "name": f.name,
                "place": f.place,
                "network": space.entry(f.network),
                "losses": [loss if math.isfinite(loss) else None for loss in f.losses],
            }
            for f in result.finalists
        ],
    }
