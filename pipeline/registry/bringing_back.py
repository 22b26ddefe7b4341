"""How a candidate that MLflow lost comes back: which commit holds its files, and the commands that register it from there.

Needs git alone: MLflow is not asked, nor imported.
"""

from __future__ import annotations

import shlex

from pipeline.common import paths
from pipeline.common.checkout import git
from pipeline.registry import mlflow_address
from pipeline.registry.decisions import Decision

_LOCK = "dvc.lock"
_CALL = "call"  # the model of all classes, which has a command of its own


def champion(lost: Decision) -> str:
    """What to say of a champion of the file that MLflow does not have."""
    return (
        f"{lost.subtype}: MLflow does not have the champion of {paths.DECISIONS}, or not its scores, so nobody else is named "
        f"champion: {named(lost)}\nor name another by hand: python -m pipeline promote {lost.subtype} <version> --because ..."
    )


def named(lost: Decision, *, on_one_line: bool = False) -> str:
    """Who is meant, which commit holds it, and what to type: a line a command, or all of it on one, as errors are."""
    who = f"{lost.candidate} {lost.digest[:8]} ({lost.decision}, {lost.time:%Y-%m-%d %H:%M} UTC)"
    commit, has_results = commit_of(lost)
    if not commit:
        return f"{who}. No commit of this repository holds it; `git fetch --all` where another may, or train it again"
    holds = f"Commit {commit[:12]} holds it" if has_results else f"It was registered at commit {commit[:12]}"
    every = commands(lost, commit)
    typed = f" {' && '.join(every)}" if on_one_line else "".join(f"\n    {command}" for command in every)
    return f"{who}. {holds}; this brings it back (after `dvc fetch --all-commits`, if DVC's cache lacks files):{typed}"


def commit_of(lost: Decision) -> tuple[str, bool]:
    """A commit whose dvc.lock names its results, this or else the newest, and True; or that of the registration, if clean."""
    if lost.results_md5:
        here = git("rev-parse", "HEAD").split()
        touched = git("log", "--all", "--format=%H", f"-S{lost.results_md5}", "--", _LOCK).split()
        for commit in here + touched:
            if git("grep", "--name-only", lost.results_md5, commit, "--", _LOCK):
                return commit, True
    known = lost.commit and git("rev-parse", "--verify", "--quiet", f"{lost.commit}^{{commit}}")
    return (lost.commit if known and not lost.dirty else ""), False


def commands(lost: Decision, commit: str) -> list[str]:
    """To be typed one after the other in the checkout's root, with its environment; what lies there stays as it is."""
    folder = f".worktrees/{lost.subtype}-{lost.digest[:8]}"
    database = mlflow_address.database()
    address = "" if database is None else f"MLFLOW_TRACKING_URI={shlex.quote(f'sqlite:///{database}')} "
    again = register(lost.subtype)
    return [
        f"git worktree add --detach {folder} {commit[:12]}",
        f'dvc --cd {folder} cache dir --local "$(dvc cache dir)"',
        f"dvc --cd {folder} checkout",
        f"(cd {folder} && {address}{again})",
        f"git worktree remove --force {folder}",
        again,
    ]


def register(model: str) -> str:
    """The command that brings a model to MLflow from where it was trained, or what is missing of it there."""
    return f"python -m pipeline {f'register_{_CALL}' if model == _CALL else f'register {model}'}"
