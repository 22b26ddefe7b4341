"""Files as odd and as damaged as any in the world: used with the pixels that other decoders see, or refused for their cause."""

import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock

import numpy as np
import pytest
from PIL import Image

from bench import image_refusals, image_variants, image_writing, mutated_images, second_decoders
from pipeline.images import decoding

PX = image_writing.PX
USED = {variant.name: variant for variant in image_variants.used()}
REFUSED = {name: (data, reason) for name, data, reason in image_refusals.refused()}


@pytest.mark.parametrize("name", USED)
def test_a_variant_that_is_taken_has_its_true_pixels_and_those_of_another_decoder(name, capfd):
    variant = USED[name]
    seen = decoding.inspect(variant.data, PX)
    assert (seen.reason, seen.width, seen.height) == ("", PX, PX)
    assert capfd.readouterr().err == ""
    others = [pixels for pixels in second_decoders.all_of(variant.data).values() if pixels is not None]
    assert others
    assert all(second_decoders.agree(seen.pixels, pixels, seen.format in decoding.LOSSY) for pixels in others)
    if variant.truth is not None:
        np.testing.assert_array_equal(seen.pixels, variant.truth)
    else:
        narrow = "ReferenceBlackWhite" in name  # stretches what was not squeezed
        assert np.abs(seen.pixels.astype(int) - image_variants.RGB).mean() < (30 if narrow else 15)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_refused_for_its_cause(name, capfd):
    data, reason = REFUSED[name]
    seen = decoding.inspect(data, PX)
    assert seen.reason.startswith(reason)
    assert seen.pixels is None
    assert capfd.readouterr().err == ""


def test_a_damaged_file_is_used_with_the_right_pixels_or_refused(capfd):
    found = {"used, right": 0, "refused": 0}
    for number, file in enumerate(mutated_images.damaged(700, seed=7)):
        outcome = mutated_images.outcome(file.data)
        assert outcome != mutated_images.WRONG, f"file {number}, {file.kind}, {file.how}"
        found[outcome] = found.get(outcome, 0) + 1
    assert found["used, right"] > 150
    assert found["refused"] > 300


def test_damage_prints_nothing(capfd):
    for file in mutated_images.damaged(400, seed=8):
        decoding.inspect(file.data, PX)
    assert capfd.readouterr() == ("", "")


def test_the_same_seed_damages_the_same_files():
    one, other, third = (list(mutated_images.damaged(150, seed)) for seed in (1, 1, 2))
    assert one == other
    assert one != third


def test_the_comparison_sees_other_pixels(monkeypatch):
    data = image_variants.used()[0].data
    assert mutated_images.outcome(data) == "used, right"
    monkeypatch.setattr(second_decoders, "by_libtiff", lambda data: image_variants.RGB[::-1])
    assert mutated_images.outcome(data) == mutated_images.WRONG


@pytest.mark.parametrize("flipped", range(0, 200, 7))
def test_a_bit_of_deflate_is_never_wrong_unnoticed(flipped):
    packed = bytearray(next(v for v in image_variants.used() if v.name == "TIFF, deflate, predictor").data)
    packed[-200 + flipped] ^= 1 << flipped % 8
    assert decoding.inspect(bytes(packed), PX).reason.startswith("damaged: strip 5 of 5, deflate")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [True, False])
def test_a_page_behind_the_first_is_seen_in_every_kind_of_tiff(order, big):
    one = image_writing.tiff(image_writing.tags_of(), image_variants.RAW, order, big)
    two = image_writing.tiff(image_writing.tags_of(), image_variants.RAW, order, big, following=16 if big else 8)
    assert decoding.inspect(one, PX).reason == decoding.inspect(two, PX).reason == ""  # the second is the first again
    start = struct.unpack_from(order + ("Q" if big else "I"), one, 8 if big else 4)[0]
    behind = image_writing.tiff(image_writing.tags_of(), image_variants.RAW, order, big, following=len(one)) + one[start:]
    assert decoding.inspect(behind, PX).reason == "more than one page"


def test_millions_of_strips_are_refused_at_once():
    many = struct.pack("<7000000I", *range(8, 7_000_008))
    data = image_writing.tiff(image_writing.tags_of(t273=(4, many), t278=(3, [1])), [])
    started = time.perf_counter()
    assert decoding.inspect(data, PX).reason == "lists 7,000,000 strips; at most 262,144 are decoded"
    assert time.perf_counter() - started < 1


def test_a_stream_that_unpacks_to_more_than_the_image_stops_there():
    bomb = zlib.compress(bytes(10**8))
    data = image_writing.tiff(image_writing.tags_of(t259=(3, [8])), [bomb])
    assert decoding.inspect(data, PX).reason == "damaged: strip 1 of 1, deflate: gives more than 6,912 bytes"


def test_large_images_are_decoded_one_after_the_other_and_small_ones_are_not():
    most, now, lock = {"large": 0, "small": 0}, {"large": 0, "small": 0}, Lock()

    def work(kind: str) -> None:
        with lock:
            now[kind] += 1
            most[kind] = max(most[kind], now[kind])
        time.sleep(0.02)
        with lock:
            now[kind] -= 1

    tags = {"t256": (4, [3000]), "t257": (4, [3000])}
    files = {
        "large": image_writing.tiff(image_writing.tags_of(**tags), [b"x"]),
        "small": image_writing.tiff(image_writing.tags_of(), [b"x"]),
    }
    with ThreadPoolExecutor(8) as pool:
        for kind, data in files.items():
            list(pool.map(lambda _, kind=kind, data=data: decoding.in_turn(data, partial(work, kind)), range(8)))
    assert most["large"] == 1
    assert most["small"] > 1


def test_statistics_of_a_tall_image_are_those_of_its_parts_together():
    """They are computed some rows at a time."""
    pixels = np.asarray(Image.fromarray(image_variants.RGB).resize((600, 600)))
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    inner = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    assert decoding.statistics(pixels).sharpness == pytest.approx(inner.std())
