"""Whatever is killed, full, slow or done twice, the next run ends as if nothing had been: `python -m bench.torture`.

A round takes a project that ran to its end, has some of its stages run again and hurts them; then it runs them once more, plainly,
and compares everything with what an undisturbed run left. What it stands for and how it ended is docs/torture.md.
"""
