"""Which folders of a source are the classes of params.yaml."""

from __future__ import annotations

from pipeline.cohort import first_look
from pipeline.cohort.trees import Tree
from pipeline.common import console
from pipeline.common.config import Config
from pipeline.common.errors import DataError


def find(config: Config, source: Tree) -> list[tuple[str, str]]:
    """Class and folder of those that are named like a class, all beside each other, at the shallowest level that has any.

    Raises:
        DataError: there are none, or in two places, or a class has none.
    """

    def class_of(folder: str) -> str:
        name = folder.rpartition("/")[2]
        return config.ingest.class_folders.get(name, name)

    level = [""]
    for _ in range(first_look.DEEPEST_LEVEL + 1):
        below = {parent: source.children(parent)[0] for parent in level}
        parents = [parent for parent, folders in below.items() if any(class_of(child) in config.classes for child in folders)]
        if len(parents) > 1:
            both = f"{source.where(parents[0])} and {source.where(parents[1])} both hold"
            if config.ingest.pseudonyms:  # they may be patients
                both = f"{source.where('')}: {len(parents)} folders hold"
            raise DataError(f"{both} class folders; keep one of them, or set COHORT_DIR to one")
        if parents:
            return _of_classes(config, source, {folder: class_of(folder) for folder in below[parents[0]]}, parents[0])
        level = [child for folders in below.values() for child in folders]
    found = "" if config.ingest.pseudonyms else f"{first_look.there(source)}. "  # they may be named after patients
    raise DataError(
        f"{source.where('')}: no folder named like a class ({', '.join(config.classes)}); {found}"
        "Name them in ingest.class_folders, or let `python -m pipeline init FOLDER` write params.yaml for what lies there"
    )


def _of_classes(config: Config, source: Tree, found: dict[str, str], parent: str) -> list[tuple[str, str]]:
    """Folders that are no classes may be named after patients."""
    missing = [name for name in config.classes if name not in found.values()]
    if missing:
        there = f"{len(found)} others" if config.ingest.pseudonyms else ", ".join(folder.rpartition("/")[2] for folder in found)
        name, key = missing[0], "control" if missing[0] == config.control else "subtypes"
        out = "" if name == config.control else ", or take the class out"
        raise DataError(
            f"{source.where(parent)}: no folder for class {name}; found {there}. Correct its name in params.yaml ({key}), or "
            f"say there which folder is its (ingest.class_folders: {{FOLDER: {name}}}){out}"
        )
    others = [folder for folder, name in found.items() if name not in config.classes]
    if others and config.ingest.pseudonyms:
        told = [f"{source.where(parent)}: {len(others)} folders are no classes of params.yaml, left out"]
    else:
        told = [f"{source.where(folder)}: not a class of params.yaml, left out" for folder in others]
    for line in told:
        if line not in source.warned:
            console.warn(line)
    source.warned.update(told)
    return [(name, folder) for folder, name in found.items() if name in config.classes]
