"""The command: `python -m bench.bad_input [--quick] [--cases N] [--seed S] [--round N] [kinds ...]`.

The same seed and number give the same case: `--round 17` shows it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from bench.bad_input import (
    archives,
    commands,
    drift_records,
    elsewhere,
    environment,
    guarded,
    http_requests,
    metadata,
    models,
    odd_values,
    params_file,
    patient_folders,
    records,
    reviews,
    stage_files,
    tables,
    vectors,
)
from bench.bad_input.guarded import CRASH, OUTCOMES, WRONG

_MODULES = (
    *(
        params_file,
        patient_folders,
        metadata,
        tables,
        reviews,
        records,
        archives,
        elsewhere,
        vectors,
        stage_files,
        drift_records,
        models,
    ),
    *(http_requests, environment, commands),
)


def main() -> None:
    """Print what crashes or comes out wrong as it happens, then a row a kind; exit with 1 where there is any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="all of them when left out")
    parser.add_argument("--cases", type=int, default=600, help="of each kind; of the slow ones some of them")
    parser.add_argument("--quick", action="store_true", help="a tenth of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="this case alone, and what became of it")
    options = parser.parse_args()
    cases = options.cases // 10 if options.quick else options.cases
    known = {kind.name: kind for module in _MODULES for kind in module.kinds()}
    if unknown := set(options.kinds) - set(known):
        parser.error(f"no kind {unknown.pop()}; there are: {', '.join(known)}")
    odd_values.drawn(1)  # once, and not in every process that is forked
    started, total, rows = time.monotonic(), Counter[str](), []
    for kind in [known[name] for name in options.kinds] or known.values():
        counts, slowest = Counter[str](), 0.0
        numbers = range(max(1, cases // kind.one_in)) if options.round is None else range(options.round, options.round + 1)
        for case in guarded.run(kind, numbers, options.seed):
            counts[case.outcome] += 1
            slowest = max(slowest, case.seconds)
            if case.outcome in (CRASH, WRONG) or options.round is not None:
                print(f"{kind.name} --round {case.number} ({case.how}): {case.outcome}: {case.said}", flush=True)
        total += counts
        rows.append(f"| {kind.name} | {len(numbers):,} | {' | '.join(f'{counts[o]:,}' for o in OUTCOMES)} | {slowest:.1f} |")
        print(rows[-1], flush=True)
    print(f"\n| kind | cases | {' | '.join(OUTCOMES)} | slowest, s |\n|---|---|{'---|' * len(OUTCOMES)}---|")
    print("\n".join([*rows, f"| all | {sum(total.values()):,} | {' | '.join(f'{total[o]:,}' for o in OUTCOMES)} | |"]))
    print(f"\nseed {options.seed}; {(time.monotonic() - started) / 60:.1f} minutes")
    sys.exit(1 if total[CRASH] + total[WRONG] else 0)


if __name__ == "__main__":
    main()
