"""What lies in a folder or archive that params.yaml says nothing of yet: its classes, their patients and images.

A class is a folder with folders in which images lie; classes lie beside each other. Images are told by their names; nothing is
opened here.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cohort.trees import Tree
from pipeline.common.errors import DataError
from pipeline.names import image_paths, leftovers

DEEPEST_LEVEL = 3  # a cohort may lie below a folder such as `data/`


@dataclass(frozen=True)
class Class:
    """A folder that looks like a class, and the images of each of its patients, as places in the tree."""

    folder: str
    patients: dict[str, list[str]]

    @property
    def name(self) -> str:
        """The folder's own."""
        return self.folder.rpartition("/")[2]

    @property
    def images(self) -> int:
        """Of all patients."""
        return sum(map(len, self.patients.values()))


def classes(source: Tree) -> list[Class]:
    """The classes at the shallowest level that has two or more of them side by side.

    Raises:
        DataError: there is no such level, or more than one place at it.
    """
    level = [""]
    for _ in range(DEEPEST_LEVEL + 1):
        below = {parent: _folders(source, parent) for parent in level}
        looked = {parent: [known for folder in below[parent] if (known := _class(source, folder))] for parent in level}
        found = [parent for parent, known in looked.items() if len(known) > 1]
        if len(found) > 1:
            raise DataError(f"{source.where(found[0])} and {source.where(found[1])} both hold classes; name one of them")
        if found:
            return looked[found[0]]
        level = [child for folders in below.values() for child in folders]
    raise DataError(
        f"{source.where('')}: no two folders side by side that hold folders of patients with images in them "
        f"(<class>/<patient>/<image>, {image_paths.EXTENSIONS}); {there(source)}"
    )


def there(source: Tree, at: str = "") -> str:
    """The folders directly in a folder, for a message."""
    names = [folder.rpartition("/")[2] for folder in _folders(source, at)]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"it holds the folders {shown}" if names else "it holds no folders"


def _folders(source: Tree, at: str) -> list[str]:
    return [folder for folder in source.children(at)[0] if not leftovers.litter(folder)]


def _class(source: Tree, folder: str) -> Class | None:
    patients = {}
    for patient in _folders(source, folder):
        images = [path for path in source.children(patient)[1] if image_paths.is_image_name(path)]
        if images:
            patients[patient.rpartition("/")[2]] = sorted(images, key=image_paths.natural)
    return Class(folder, patients) if patients else None
