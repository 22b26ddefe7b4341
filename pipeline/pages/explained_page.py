"""Pictures of an explanation: cells with their shares of a score, and cells under the map of their pixels.

Crops are uint8 `(px, px, 3)` of any side; a map is `(blocks, blocks)`, above 0 where it speaks for the subtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images import decoding
from pipeline.pages import contact_sheet, rendering

TEMPLATE = "explained_page.html.j2"
_CELL_PX = 144
_ON_A_SHEET = 4
_FOR, _AGAINST = (213, 94, 0), (0, 114, 178)  # as the pages' colours of subtype and control
_DENSEST = 0.7  # of the colour where a map is strongest

Crop = NDArray[np.uint8]


@dataclass(frozen=True)
class Why:
    """What one patient's score rests on, by image.

    `shares` are of what speaks the same way, the most suspicious first; `maps` of pixels, `(blocks, blocks)`. Where there are
    none, `no_cells` and `no_maps` say why.
    """

    shares: Mapping[str, float]
    maps: Mapping[str, NDArray[np.float64]]
    no_cells: str = ""
    no_maps: str = ""


def sheets(why: Why, read: Callable[[str], Crop]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Titles and pictures of one patient: the cells at either end, and maps."""
    shares, maps, ranked = why.shares, why.maps, list(why.shares)
    for title, names in (("Most suspicious", ranked[:_ON_A_SHEET]), ("Least suspicious", ranked[_ON_A_SHEET:][-_ON_A_SHEET:])):
        if names:
            captions = [f"{_stem(name)}: {shares[name]:.0%}" for name in names]
            yield f"{title}, with shares", sheet([read(name) for name in names], captions, title)
    if maps:
        crops = {name: read(name) for name in maps}
        pictures = [picture for name, crop in crops.items() for picture in (crop, under_map(crop, maps[name]))]
        captions = [caption for name in maps for caption in (_stem(name), "")]
        yield "Which pixels", sheet(pictures, captions, "Cells, and each again under its map")


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def sheet(crops: Sequence[Crop], captions: Sequence[str], what: str) -> dict[str, Any]:
    """A picture of the crops, with their captions, and what it shows in words."""
    composed = contact_sheet.compose(np.stack([decoding.resize(crop, _CELL_PX) for crop in crops]), captions)
    shown = ", ".join(caption for caption in captions if caption)
    return {"picture": rendering.data_uri(contact_sheet.png(composed)), "words": f"{what}: {shown}."}


def under_map(crop: Crop, heat: NDArray[np.float64]) -> Crop:
    """The crop with the colour of the subtype where the map speaks for it, of the controls where against it."""
    strength = Image.fromarray(heat.astype(np.float32)).resize((_CELL_PX, _CELL_PX), Image.Resampling.BILINEAR)
    part = np.asarray(strength, dtype=np.float64) / (np.abs(heat).max() or 1.0)
    cover = (_DENSEST * np.abs(part))[..., None]
    colours = np.where(part[..., None] >= 0, np.array(_FOR), np.array(_AGAINST))
    return np.rint((1 - cover) * decoding.resize(crop, _CELL_PX) + cover * colours).clip(0, 255).astype(np.uint8)
