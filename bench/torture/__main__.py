"""The command: `python -m bench.torture [--quick] [--minutes M] [--seed S] [--round N] [kinds ...]`."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench.torture import company, judge, kills, limits, servers
from bench.torture.project import TRACKED, Project
from bench.torture.round import play

KINDS = {
    "stage": kills.stage_killed,
    "stage-of-dvc": kills.stage_of_dvc_killed,
    "dvc": kills.dvc_killed,
    "both": kills.both_killed,
    "flow": kills.flow_killed,
    "disk-full": limits.disk_full,
    "temp-full": limits.temp_full,
    "read-only": limits.read_only,
    "memory": limits.memory_short,
    "mlflow": servers.mlflow_killed,
    "postgres": servers.postgres_killed,
    "prefect": servers.prefect_killed,
    "worker": servers.worker_killed,
    "slow": servers.slow,
    "flapping": servers.flapping,
    "two-people": company.two_people,
    "two-flows": company.two_flows,
}

ASK_MLFLOW = ("mlflow", "postgres", "slow", "flapping")


def main() -> None:
    """Play rounds; a line each, and status 1 if any was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins later; 60 when left out")
    parser.add_argument("--seed", type=int, help="of all chance; drawn and printed when left out")
    parser.add_argument("--round", type=int, help="play this round alone, with the seed and the kinds that it was played with")
    parser.add_argument("--from-round", type=int, default=0, help="the first round; 0 when left out")
    parser.add_argument("--folder", type=Path, help="keep the reference there, and take it from there; else it is made anew")
    parser.add_argument("--record", type=Path, help="append a line of JSON a round to this file")
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(KINDS)}; all when left out")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    limits.alone()
    kinds = options.kinds or list(KINDS)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}, kinds: {' '.join(kinds)}", flush=True)
    rounds = itertools.count(options.from_round) if options.round is None else [options.round]
    ends = time.monotonic() + 60 * options.minutes
    lost = 0
    with tempfile.TemporaryDirectory(prefix="torture-") as made:
        project = Project(options.folder or Path(made))
        project.restore()
        expected = judge.look(project.folder)
        for number in rounds:
            if time.monotonic() > ends:
                break
            sweep, place = divmod(number, len(kinds))
            stages = list(TRACKED if (name := kinds[place]) in ASK_MLFLOW else project.seconds)
            random.Random(seed).shuffle(stages)
            stage = stages[(sweep + 7 * place) % len(stages)]  # every kind meets each in turn
            became = play(project, expected, KINDS[name], stage, name in ASK_MLFLOW, random.Random(f"{seed} {number}"))
            line = {"seed": seed, "round": number, "kinds": " ".join(kinds), "kind": name, **became}
            print(f"round {number}: {name}, {stage}: {became['outcome']}, {became['seconds']} s", flush=True)
            if became["outcome"] == "lost":
                lost += 1
                shutil.copyfile(project.folder.parent / "said", f"torture-{seed}-{number}.txt")
                print(*(f"    {why}" for why in became["why"]), sep="\n")
                print(f"    all that was said: torture-{seed}-{number}.txt")
                print(
                    f"    again: python -m bench.torture --seed {seed} --round {number} {' '.join(options.kinds)}", flush=True
                )
            if options.record:
                with options.record.open("a") as record:
                    record.write(json.dumps(line) + "\n")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
