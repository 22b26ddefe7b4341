"""The command: `python -m bench.torture [--quick] [--minutes M] [--seed S] [--round N] [kinds ...]`."""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from processes import Postgres

from bench.torture import company, judge, kills, limits, servers, table
from bench.torture.project import REGISTER, TRACKED, Project
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
MET_BY = {**dict.fromkeys(ASK_MLFLOW, TRACKED), "temp-full": REGISTER}  # others are met by all stages
QUICK = {name: KINDS[name] for name in ("stage", "both", "dvc", "two-people", "disk-full", "read-only", "memory", "temp-full")}
QUICK["disk-full"] = functools.partial(limits.disk_full, times=3)
QUICK_STAGES = ("deal", "split", "pack", "candidates", "weigh", "train_bags@NPM1-bags", "evaluate@NPM1-bags", "register@NPM1")


def main() -> None:
    """Play rounds; a line each, then a table, and status 1 if any was lost."""
    options = _options()
    limits.alone()
    how = KINDS | QUICK if options.quick else KINDS
    kinds = options.kinds or [*(QUICK if options.quick else KINDS)]
    if cannot := [kind for kind in kinds if kind in _out_of_reach()]:
        kinds = [kind for kind in kinds if kind not in cannot]
        print(f"left out, for want of root's rights to mount or of PostgreSQL: {' '.join(cannot)}")
        if not kinds:
            sys.exit(1)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}, kinds: {' '.join(kinds)}", flush=True)
    rounds: Iterable[int] = itertools.count(options.from_round)
    if options.quick:
        rounds = range(len(kinds))
    if options.round is not None:
        rounds = [options.round]
    ends = time.monotonic() + 60 * options.minutes
    played = []
    with tempfile.TemporaryDirectory(prefix="torture-") as made:
        project = Project(options.folder or Path(made))
        project.restore()
        expected = judge.look(project.folder)
        for number in rounds:
            if time.monotonic() > ends:
                break
            sweep, place = divmod(number, len(kinds))
            kind = kinds[place]
            stages = list(MET_BY.get(kind, QUICK_STAGES if options.quick else project.seconds))
            random.Random(seed).shuffle(stages)
            stage = stages[(sweep + 7 * place) % len(stages)]  # every kind meets each in turn
            became = play(project, expected, how[kind], stage, kind in ASK_MLFLOW, random.Random(f"{seed} {number}"))
            played.append({"seed": seed, "round": number, "kinds": " ".join(kinds), "kind": kind, **became})
            print(f"round {number}: {kind}, {stage}: {became['outcome']}, {became['seconds']} s", flush=True)
            if became["outcome"] == "lost":
                shutil.copyfile(project.folder.parent / "said", said := f"torture-{seed}-{number}.txt")
                again = f"{'--quick ' if options.quick else ''}--seed {seed} --round {number} {' '.join(options.kinds)}"
                print(*became["why"], f"all that was said: {said}", sep="\n    ")
                print(f"    again: python -m bench.torture {again}", flush=True)
            if options.record:
                with options.record.open("a") as record:
                    record.write(json.dumps(played[-1]) + "\n")
    if options.record:
        played = [json.loads(line) for line in options.record.read_text().splitlines()]
    print(table.markdown(played))
    sys.exit(1 if any(one["outcome"] == "lost" for one in played) else 0)


def _out_of_reach() -> set[str]:
    """The kinds that cannot be played by this account on this machine."""
    disks = set() if limits.may_mount() else {"disk-full", "temp-full", "read-only"}
    return disks if Postgres.programs() else disks | {"postgres"}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.torture", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a round each of the kinds that need no server, in some minutes")
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins later; 60 when left out")
    parser.add_argument("--seed", type=int, help="of all chance; drawn and printed when left out")
    parser.add_argument("--round", type=int, help="play this round alone, with the seed and the kinds that it was played with")
    parser.add_argument("--from-round", type=int, default=0, help="the first round; 0 when left out")
    parser.add_argument("--folder", type=Path, help="keep the reference there, and take it from there; else it is made anew")
    parser.add_argument("--record", type=Path, help="append a line of JSON a round to this file; the table is of all in it")
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(KINDS)}; all of them when left out")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return options


if __name__ == "__main__":
    main()
