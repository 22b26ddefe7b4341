"""`python -m flows training`: a flow run from the terminal; without a Prefect server one is started for its duration."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run a flow; 0 when it completed, 1 when it did not."""
    parser = argparse.ArgumentParser(
        prog="python -m flows", description="A flow, now and here. Schedules: see infra/prefect.yaml."
    )
    flows = parser.add_subparsers(dest="flow", metavar="flow", required=True)
    training = flows.add_parser("training", help="bring everything up to date, as `dvc repro` does")
    training.add_argument("--subtypes", nargs="+", help="these only")
    training.add_argument("--folds", nargs="+", type=int, help="train these folds only")
    training.add_argument("--force", action="store_true", help="although nothing changed, and trainings from the first epoch")
    chosen = vars(parser.parse_args(arguments))
    name = chosen.pop("flow")

    from flows import training as flow_module  # Prefect takes seconds

    state = getattr(flow_module, name)(**chosen, return_state=True)
    sys.stdout.write(f"{name}: {state.name}. {state.message or ''}\n")
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
