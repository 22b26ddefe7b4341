"""Bad input of every kind that a user may bring, or a disk may leave: `python -m bench.bad_input` asks what becomes of it.

A case is a good file damaged, or one that Hypothesis drew, read by the product's own code. It ends in one line that names the
file, or in what another reader makes of it too. What came of it is in docs/torture.md; images are `bench.mutated_images`'.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "images")]  # whose cohorts and projects are damaged here
