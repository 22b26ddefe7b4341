"""Whether a TIFF file holds one image and no more: which of several is the cell, nobody can tell.

They may stand in lists of tags behind the first or below it, or all behind one list, each writer having its own word for that.
"""

from __future__ import annotations

import json
import math
import re

from .image_faults import UnusableError
from .tiff_tags import Tags

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType (TIFF 6.0, page 36)
_OLD_REDUCED = 2  # of SubfileType
_SHAPE = re.compile(rb"shape=\(([\d, ]+)\)")  # as tifffile wrote it once


def require_one_image(tags: Tags) -> None:
    """Refuse several images, and what is a thumbnail or a mask of another one."""
    if tags.has_another_image():
        raise UnusableError("more than one page")
    if _is_reduced(tags) or _is_mask(tags):
        raise UnusableError(f"not the image itself: by its tags a {'thumbnail' if _is_reduced(tags) else 'mask'} of one")
    _require_alone(tags)
    _require_no_stack(tags)


def _require_alone(tags: Tags) -> None:
    """Refuse images below the first list of tags but for smaller versions of this one, as pyramids have them."""
    for below in tags.images_below():
        if _is_mask(below):
            raise UnusableError("translucent: a mask lies beside the image (SubIFDs)")
        is_larger = below.number(256) > tags.number(256) or below.number(257) > tags.number(257)
        if is_larger or not _is_reduced(below):
            raise UnusableError("more than one image: another lies below its list of tags (SubIFDs)")


def _require_no_stack(tags: Tags) -> None:
    said = tags.text(270)
    stacked = re.search(rb"^(?:images|slices|frames)=0*([2-9]|[1-9]\d+)\s*$", said, re.MULTILINE)
    if said.startswith(b"ImageJ=") and stacked:
        raise UnusableError(f"more than one image: a stack of {int(stacked[1])}, saved by ImageJ")
    if said.startswith((b'{"shape":', b"shape=(")):
        samples = tags.number(256) * tags.number(257) * tags.number(277, 1)
        if _shaped(said) > samples:
            raise UnusableError("more than one image: a stack, saved by tifffile")
    if tags.count(33629) > 1:  # UIC2
        raise UnusableError(f"more than one image: a stack of {tags.count(33629):,}, saved by MetaMorph")
    if tags.number(32997, 1) != 1:
        raise UnusableError(f"more than one image: a volume of {tags.number(32997):,} slices")


def _shaped(said: bytes) -> int:
    try:
        if old := _SHAPE.match(said):
            return math.prod(int(side) for side in old[1].split(b",") if side.strip())
        return math.prod(json.loads(said.split(b"\0")[0])["shape"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0


def _is_reduced(tags: Tags) -> bool:
    return bool(tags.number(254, 0) & _REDUCED) or tags.number(255, 0) == _OLD_REDUCED


def _is_mask(tags: Tags) -> bool:
    return bool(tags.number(254, 0) & _MASK)
