"""The stages and their order, read from dvc.yaml by DVC itself: a flow cannot disagree with `dvc repro`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows import ROOT
from flows.errors import FlowError


@dataclass(frozen=True)
class Stage:
    """One stage of the DAG; `after` are the stages whose outputs it needs."""

    name: str
    kind: str
    subtype: str
    candidate: str
    fold: int | None
    after: tuple[str, ...]
    outs: tuple[str, ...]
    deps: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name as people read it: `train NPM1 published fold 0`."""
        fold = "" if self.fold is None else f"fold {self.fold}"
        of = [part for part in (self.subtype, self.candidate, fold) if part]
        return " ".join([self.kind, *of]) if of else self.name.replace("@", " ")


def find_stale(status: Mapping[str, object], every: Sequence[Stage]) -> set[str]:
    """The stages that are not up to date, or may not be once those before them have run.

    `status` is what `dvc status --json` prints: the stages that changed, by name.
    """
    found: set[str] = set()
    for stage in every:
        if stage.name in status or found.intersection(stage.after):
            found.add(stage.name)
    return found


def read_stages(folder: Path = ROOT) -> list[Stage]:
    """All stages of `folder`, each behind those it needs, otherwise in the order of dvc.yaml.

    Raises:
        FlowError: DVC cannot read them.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from networkx import lexicographical_topological_sort

    try:
        with Repo(str(folder)) as repo:
            graph = repo.index.graph
            known = YAML(typ="safe", pure=True).load(folder / "dvc.yaml")["stages"]
            matrices = {kind: list(stage.get("matrix", {})) for kind, stage in known.items()}
            position = {stage: number for number, stage in enumerate(repo.index.stages)}
            return [
                _read_stage(stage, graph, matrices)
                for stage in lexicographical_topological_sort(graph.reverse(copy=True), key=position.__getitem__)
            ]
    except DvcException as error:
        raise FlowError(f"{' '.join(str(error).split())}; `dvc status` says more") from None


def choose(
    every: Sequence[Stage],
    subtypes: Sequence[str] | None,
    folds: Sequence[int] | None,
    is_there: Callable[[Stage], bool],
) -> list[Stage]:
    """The stages of these subtypes and folds, and those that all share, in order.

    A stage is left out when something that it needs is neither chosen nor there: `evaluate` waits for all folds.

    Raises:
        FlowError: there is no such subtype or fold; the message names it.
    """
    for what, asked, known in (
        ("subtype", subtypes, {stage.subtype for stage in every if stage.subtype}),
        ("fold", folds, {stage.fold for stage in every if stage.fold is not None}),
    ):
        for value in asked or ():
            if value not in known:
                raise FlowError(f"there is no {what} {value}; params.yaml has {', '.join(sorted(map(str, known)))}")
    by_name = {stage.name: stage for stage in every}
    kept: dict[str, Stage] = {}
    for stage in every:
        wanted = (not stage.subtype or subtypes is None or stage.subtype in subtypes) and (
            stage.fold is None or folds is None or stage.fold in folds
        )
        if wanted and all(name in kept or is_there(by_name[name]) for name in stage.after):
            kept[stage.name] = stage
    return list(kept.values())


def _read_stage(stage: Any, graph: Any, matrices: Mapping[str, Sequence[str]]) -> Stage:
    name = stage.name
    kind, _, item = name.partition("@")
    of = dict(zip(matrices[kind], item.split("-"), strict=False))  # no name holds a dash
    return Stage(
        name=name,
        kind=kind,
        subtype=of.get("subtype", ""),
        candidate=of.get("candidate", ""),
        fold=int(of["fold"]) if "fold" in of else None,
        after=tuple(sorted(other.name for other in graph.successors(stage))),
        outs=tuple(out.def_path for out in stage.outs),
        deps=tuple(dep.def_path for dep in stage.deps if dep.def_path),
    )
