"""Many crops in one picture, to look at together.

Crops are uint8 `(n, px, px, 3)`, red, green, blue. No file is read or written here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 4  # of which the captions can still be read on a phone
SIDE_PX = 96
_GAP_PX, _CAPTION_PX, _FONT_PX = 8, 20, 13
_LONGEST_CAPTION = 40  # characters; more never fit


def compose(crops: NDArray[np.uint8], captions: Sequence[str]) -> Image.Image:
    """The crops row by row on white, each enlarged to `SIDE_PX` and with its caption below.

    A caption that is wider than its crop loses its beginning.
    """
    columns, rows = max(1, min(COLUMNS, len(crops))), -(-len(crops) // COLUMNS)
    step_x, step_y = SIDE_PX + _GAP_PX, SIDE_PX + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * step_x + _GAP_PX, rows * step_y + _GAP_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for position, (crop, caption) in enumerate(zip(crops, captions, strict=True)):
        x, y = _GAP_PX + position % COLUMNS * step_x, _GAP_PX + position // COLUMNS * step_y
        sheet.paste(Image.fromarray(crop).resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS), (x, y))
        caption = caption[-_LONGEST_CAPTION:]
        while draw.textlength(caption, font) > SIDE_PX:
            caption = caption[1:]
        draw.text((x + SIDE_PX / 2, y + SIDE_PX + 3), caption, fill="#222222", font=font, anchor="ma")
    return sheet


def png(sheet: Image.Image) -> bytes:
    """The picture's bytes, the same for the same picture."""
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def webp(sheet: Image.Image) -> bytes:
    """The same in a seventh of the bytes, with losses that the eye does not find beside the enlarged pixels."""
    buffer = io.BytesIO()
    sheet.save(buffer, format="WEBP", quality=90, method=6)
    return buffer.getvalue()
