"""Why an image cannot be used, and what every format's reader asks of an image before it decodes one pixel of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

LARGEST_PX = 8192  # side of an image or tile that is decoded at all: a 143-byte file can claim 20,000 x 20,000
_XMP_ORIENTATION = re.compile(rb"""[\w.-]:Orientation\s*(?:=\s*["']|>)\s*(\d+)""")  # the prefix is the writer's to choose


class UnusableError(ValueError):
    """Why an image cannot be used; the caller knows the file's name."""


def require_upright(tags: Sequence[int], xmp: bytes) -> None:
    """Refuse an image that some readers turn and others don't; its XMP counts where there are no `tags` (as in Pillow).

    XMP may be written in UTF-16 or UTF-32, whose letters have zeros between them here.
    """
    for tag in tags:
        if tag != 1:
            raise UnusableError(f"orientation tag {tag}: unclear which way up the pixels are")
    for found in _XMP_ORIENTATION.findall(xmp.replace(b"\0", b"")) if not tags else []:
        if int(found) != 1:
            raise UnusableError(f"orientation {int(found)} in its XMP: unclear which way up the pixels are")


def require_decodable(*sides_px: int) -> None:
    """Refuse what would take too much memory or time."""
    if max(sides_px) > LARGEST_PX:
        raise UnusableError(f"claims {max(sides_px):,} px a side; at most {LARGEST_PX:,} are decoded")
    if min(sides_px) < 1:
        raise UnusableError("damaged: claims a side of 0 px")


def require_depth(bits: int) -> None:
    """Refuse all but 8 bits a channel."""
    if bits != 8:
        raise UnusableError(f"{bits} bits a channel instead of 8")


def no_colour(mode: str, meaning: str) -> UnusableError:
    """An image that is not in colour."""
    return UnusableError(f"no 8-bit colour: mode {mode} ({meaning})")
