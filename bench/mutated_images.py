"""Files damaged at random, used with the right pixels or refused? `python -m bench.mutated_images --files 20000 --seed 1`

Every kind of file that is taken (`bench.image_variants`) is damaged in its header, its tags, the values behind them, its
compressed data or its end; of PNG also with checksums made to match. What is used then is compared with two other decoders:
any that gives other pixels makes it wrong. The product has 60 s for a file and 2 GB beyond what was loaded, as
`bench.bad_input` has it. The same seed damages the same files in the same way.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import resource
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import image_variants, second_decoders
from bench.bad_input.guarded import LIMIT_BYTES, LIMIT_S
from bench.image_writing import PX
from pipeline.images import decoding

WRONG = "WRONG"
OUTCOMES = ("used, right", "used, no other decoder reads it", "refused", WRONG)
_TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 16)
_ODD = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 24, 32, 47, 48, 49, 64, 144, 255, 256, 32773, 65535, 2**16, 2**24, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Damaged:
    """A file, what it was made from, how it was damaged."""

    kind: str
    how: str
    data: bytes


def damaged(files: int, seed: int) -> Iterator[Damaged]:
    """So many of them, each kind and each way of damage about as often."""
    variants = image_variants.used()
    for number in range(files):
        rng = random.Random(f"{seed} {number}")
        variant = variants[number % len(variants)]
        form = variant.name.split(",")[0]
        how = rng.choice(sorted(_WAYS) if form != "PNG" else [*sorted(_WAYS), "checksums made to match"])
        if how == "tags" and not form.endswith("TIFF"):
            how = "header"
        data = bytearray(variant.data)
        _WAYS[how](rng, data) if how in _WAYS else _match(rng, data)
        yield Damaged(form, how, bytes(data))


def _flip(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data[rng.randrange(start, max(start + 1, min(end, len(data))))] ^= 1 << rng.randrange(8)


def _header(rng: random.Random, data: bytearray) -> None:
    _flip(rng, data, 0, 40)


def _tags(rng: random.Random, data: bytearray) -> None:
    """A tag's number, type, count or value, or one tag in the place of another."""
    order = "<" if data[:2] == b"II" else ">"
    big = bytes(data[2:4]) in (b"\x2b\0", b"\0\x2b")
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    size, first = (20, at + 8) if big else (12, at + 2)
    entry = first + size * rng.randrange(count)
    match rng.randrange(6):
        case 0:
            struct.pack_into(
                order + "H", data, entry, rng.choice((254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 284, 317, 322, 338))
            )
        case 1:
            struct.pack_into(order + "H", data, entry + 2, rng.choice(_TYPES))
        case 2:
            struct.pack_into(order + "I", data, entry + 4, rng.choice(_ODD))
        case 3:
            struct.pack_into(order + "I", data, entry + (12 if big else 8), rng.choice(_ODD))
        case 4:
            struct.pack_into(order + "H", data, entry + (12 if big else 8), rng.choice(_ODD) & 0xFFFF)
        case _:
            other = first + size * rng.randrange(count)
            data[entry : entry + size] = data[other : other + size]


def _values(rng: random.Random, data: bytearray) -> None:
    """What lies behind the tags, or the first compressed bytes."""
    _flip(rng, data, 40, 700)


def _pixels(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) // 3, len(data))
    match rng.randrange(4):
        case 0:
            _flip(rng, data, start, len(data))
        case 1:
            end = min(len(data), start + rng.choice((1, 16, 512)))
            data[start:end] = bytes(end - start)
        case 2:
            del data[start : start + rng.choice((1, 2, 100))]
        case _:
            data[start:start] = rng.randbytes(rng.choice((1, 2, 100)))


def _end(rng: random.Random, data: bytearray) -> None:
    """Cut off, filled up with zeros, or with something behind it."""
    at = rng.randrange(len(data))
    match rng.randrange(3):
        case 0:
            del data[at:]
        case 1:
            data[at:] = bytes(len(data) - at)
        case _:
            data += rng.randbytes(rng.choice((1, 1000)))


def _match(rng: random.Random, data: bytearray) -> None:
    """A PNG damaged anywhere, whose chunks' checksums are then computed anew, and sometimes that of the pixels too."""
    _flip(rng, data, 12, len(data))
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            return
        if data[at + 4 : at + 8] == b"IDAT" and rng.random() < 0.5:
            with suppress(zlib.error):
                pixels = zlib.decompressobj(-15).decompress(data[at + 10 : end - 4])
                data[end - 4 : end] = struct.pack(">I", zlib.adler32(pixels))
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4


_WAYS: dict[str, Callable[[random.Random, bytearray], None]] = {
    "header": _header,
    "tags": _tags,
    "values": _values,
    "pixels": _pixels,
    "end": _end,
}


@contextmanager
def _limits() -> Iterator[None]:
    """End the program, saying where it is, after a minute; let memory end at 2 GB more than there was."""
    faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=sys.stdout)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        faulthandler.cancel_dump_traceback_later()


def outcome(data: bytes) -> str:
    """What became of a damaged file."""
    seen = decoding.inspect(data, PX)
    if seen.pixels is None:
        return "refused"
    others = [pixels for pixels in second_decoders.all_of(data).values() if pixels is not None]
    if not all(second_decoders.agree(seen.pixels, pixels, seen.format in decoding.LOSSY) for pixels in others):
        return WRONG
    return "used, right" if others else "used, no other decoder reads it"


def main() -> None:
    """Print a table; exit with 1 where something wrong was used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the files that are wrong")
    options = parser.parse_args()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the other decoders print what they think of a file
    counts: Counter[tuple[str, str, str]] = Counter()
    slowest, started = 0.0, time.perf_counter()
    for number, file in enumerate(damaged(options.files, options.seed)):
        before = time.perf_counter()
        with _limits():
            decoding.inspect(file.data, PX)
        slowest = max(slowest, time.perf_counter() - before)
        found = outcome(file.data)
        counts[file.kind, file.how, found] += 1
        if options.keep and found not in ("used, right", "refused"):
            options.keep.mkdir(parents=True, exist_ok=True)
            name = f"{number}-{file.kind}-{file.how}-{'wrong' if found == WRONG else 'alone'}".replace(" ", "_")
            (options.keep / name).write_bytes(file.data)
    print(f"| file, damaged in | {' | '.join(OUTCOMES)} |\n|---|{'---|' * len(OUTCOMES)}")
    for kind, how in dict.fromkeys((kind, how) for kind, how, _ in sorted(counts)):
        print(f"| {kind}, {how} | " + " | ".join(f"{counts[kind, how, found]:,}" for found in OUTCOMES) + " |")
    totals = {found: sum(n for key, n in counts.items() if key[2] == found) for found in OUTCOMES}
    print("| all | " + " | ".join(f"{totals[found]:,}" for found in OUTCOMES) + " |")
    print(f"\nseed {options.seed}; {time.perf_counter() - started:.0f} s; the slowest file took {slowest:.2f} s to judge")
    sys.exit(1 if totals[WRONG] else 0)


if __name__ == "__main__":
    main()
