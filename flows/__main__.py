"""`python -m flows training`: a flow run from the terminal; without a Prefect server one is started for its duration."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from flows.errors import FlowError

# Command -> its module, of those that are no flow; Prefect is not imported before its address is set.
_NO_FLOWS = {
    "serve": "serve",
    "check": "cache_check",
    "history": "history",
    "compare": "compare",
    "deploy": "deploy",
    "gc": "unneeded",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a flow; 0 when it completed, 1 when it did not, 2 when it could not start."""
    parser = argparse.ArgumentParser(prog="python -m flows", description="A flow, here and now; schedules: infra/prefect.yaml.")
    flows = parser.add_subparsers(dest="flow", metavar="flow", required=True)
    training = flows.add_parser("training", help="bring everything up to date, as `dvc repro` does")
    training.add_argument("--subtypes", nargs="+", help="these only")
    training.add_argument("--folds", nargs="+", type=int, help="train these folds only")
    training.add_argument("--deployment", help="hand trainings to other machines: train-one/trainers")
    training.add_argument("--force", action="store_true", help="although nothing changed, and trainings from the first epoch")
    flows.add_parser("refresh", help="look whether the source has something new; if so, take it in and train")
    flows.add_parser("drift", help="say whether the newest patients that were scored look like those of training")
    tuning = flows.add_parser("tune", help="search a better network for a subtype, with several workers")
    tuning.add_argument("subtype", help="one of params.yaml's subtypes")
    tuning.add_argument("--candidate", help="as which candidate of params.yaml; needed where there are several")
    tuning.add_argument("--workers", type=int, default=2, help="trials at once on this machine (2)")
    tuning.add_argument("--apply", action="store_true", help="put the winner into params.yaml")
    flows.add_parser("serve", help="Prefect, MLflow, the reports and the schedules on this machine, until Ctrl-C")
    flows.add_parser("check", help="look whether DVC's cache is what it says; delete what was edited in place")
    past = flows.add_parser("history", help="say who was champion when and why, and how to have it back; needs git alone")
    past.add_argument("subtype", help="one of params.yaml's subtypes, or call")
    past.add_argument("--on", help="the champion at the end of this day, or at a time (UTC): 2026-11-01, 2026-11-01T12:00")
    beside = flows.add_parser("compare", help="set the results here beside those of another commit, patient by patient")
    beside.add_argument("ref", help="a branch, tag or commit, as main")
    beside.add_argument("--output", default="comparison", help="folder for comparison.md and its pictures (comparison)")
    beside.add_argument("--fail-on-regression", action="store_true", help="exit status 3 where a result got worse")
    unneeded = flows.add_parser("gc", help="say what nothing needs any more, how large it is, and how to delete it")
    unneeded.add_argument("--days", type=int, default=30, help="flow runs may go that ended so many days ago (30)")
    deploying = flows.add_parser("deploy", help="put the schedules on the Prefect server that PREFECT_API_URL names")
    deploying.add_argument("--trainers", action="store_true", help="instead: offer this clone for trainings of others")
    chosen = vars(parser.parse_args(arguments))
    name = chosen.pop("flow")

    try:
        if name in _NO_FLOWS:
            status: int = importlib.import_module(f"flows.{_NO_FLOWS[name]}").run(**chosen)
            return status
        from flows import local_servers

        local_servers.ensure_prefect()
    except FlowError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2

    from flows import drift, refresh, tune
    from flows import training as trainings

    flow: Any = {"training": trainings.training, "refresh": refresh.refresh, "drift": drift.drift, "tune": tune.tune}[name]
    state = flow(**chosen, return_state=True)
    sys.stdout.write(f"{name}: {state.name}. {state.message or ''}\n")
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
