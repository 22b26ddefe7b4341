"""Whatever is killed, full, slow or done twice, the next run ends as if nothing had been: `python -m bench.torture`.

A round takes a project that ran to its end, has some of its stages run again and hurts them; then it runs them once more,
plainly, and compares everything with what an undisturbed run left. What came of it is in docs/torture.md.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # whose small project, and servers on loopback, these rounds use
