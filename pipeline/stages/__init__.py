"""The verbs: one file a stage of the DAG or a command beside it, called as `python -m pipeline <name>`.

They read files, call the rooms and write files. May import every room; no room imports a stage, and no stage another one.
"""
