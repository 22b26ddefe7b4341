"""Pictures of an explanation: cells with their shares of a score, and cells under the map of their pixels.

Crops are uint8 `(px, px, 3)` of any side; a map is `(blocks, blocks)`, above 0 where it speaks for the subtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images import decoding
from pipeline.pages import contact_sheet, rendering

TEMPLATE = "explained_page.html.j2"
_CELL_PX = 144
_FOR, _AGAINST = (213, 94, 0), (0, 114, 178)  # as the pages' colours of subtype and control
_DENSEST = 0.7  # of the colour where a map is strongest

Crop = NDArray[np.uint8]


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
