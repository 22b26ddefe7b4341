"""Epochs in few calls of a graph: cells lie in the device's memory as uint8, batches are made there, many steps a call.

The host draws which rows come when and how each image is changed, as for batches that it makes itself: the images of
(seed, epoch, step) are the same, pixel by pixel. Cells that do not fit are sent ahead: those of the next two calls while one
computes. Either way the same compiled steps see the same images.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.common import console
from pipeline.networks.augmentation import Changes, orient
from pipeline.networks.epoch_images import Pool, Rows

_SENT_BYTES = 2**27  # of cells that are sent for one call: enough steps to make up for the call, little beside activations
_SCORED_AT_ONCE = 1024
_SCORED_BYTES = 2**23  # of the images of one batch that is scored, at most: 540 of 72 px
_IN_FLIGHT = 2
_WITHOUT_XLA = 32  # steps of one call: some seconds of a processor, for which Ctrl-C and a sign of life have to wait
_HEARTBEAT_S = 30.0

Tensor: TypeAlias = Any  # tensorflow has no types
T = TypeVar("T")
R = TypeVar("R")


class Batches(Protocol):
    """One epoch's, as drawn by the host."""

    batch_size: int

    def __len__(self) -> int:
        """Number of batches."""

    def draw(self, step: int) -> tuple[Rows, Changes]:
        """Rows of batch `step`, counted over both pools, and what is done to each image."""


class Cells:
    """Images of one pool or of several, whose rows are counted on: in the device's memory, or sent when they are asked for."""

    def __init__(self, pools: Sequence[Pool], room_bytes: int) -> None:
        self._pools = pools
        self._starts = np.cumsum([0, *(len(pool.rows) for pool in pools)])
        self.shape_each = pools[0].cells.shape[1:]
        self.bytes_each = int(np.prod(self.shape_each))
        self.are_there = have_room(pools, room_bytes)
        self._there = _sent(self._read(np.arange(len(self)))) if self.are_there else None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def at(self, rows: Rows) -> tuple[Tensor, Rows]:
        """Images on the device, uint8 `(n, px, px, 3)`, and where among them each of `rows` is."""
        if self._there is not None:
            return self._there, rows
        return _sent(self._read(rows)), np.arange(len(rows))

    def _read(self, rows: Rows) -> NDArray[np.uint8]:
        images = np.empty((len(rows), *self.shape_each), dtype=np.uint8)
        for pool, start in zip(self._pools, self._starts, strict=False):
            own = (rows >= start) & (rows < start + len(pool.rows))
            pool.expect(rows[own] - start)  # many at once: the disk need not answer one before the next is asked for
            images[own] = pool.take(rows[own] - start)
        return images


def have_room(pools: Sequence[Pool], room_bytes: int) -> bool:
    """Whether the cells of `pools` may lie in `room_bytes` of the device's memory."""
    return sum(len(pool.rows) for pool in pools) * int(np.prod(pools[0].cells.shape[1:])) <= room_bytes


class Epochs:
    """Trains a network that Keras has compiled, epoch by epoch; `batches` gives those of an epoch by its number, from 0."""

    def __init__(self, network: Any, cells: Cells, batches: Callable[[int], Batches], xla: bool) -> None:
        self._cells, self._batches, self._xla = cells, lru_cache(maxsize=_IN_FLIGHT)(batches), xla
        self.steps = _steps(network, xla)
        self._next = -1
        self._calls: Iterator[tuple[tuple[Any, ...], bool]] = iter(())

    def name_programs(self) -> None:
        """Give XLA's programs their names, which count all tensors of the process: before threads or a checkpoint make some.

        TensorFlow finds by these names what an earlier process has compiled.
        """
        import tensorflow as tf

        if not self._xla:
            return
        pixels, named, size = self._cells.shape_each, set(), self._batches(0).batch_size
        for _, steps, is_last in self.places(0):
            if len(steps) not in named:  # XLA compiles every number of steps anew
                batches, images = (len(steps), size), len(self._cells) if self._cells.are_there else len(steps) * size
                numbers = [tf.TensorSpec(batches, tf.int32)] * 4
                strength = tf.TensorSpec((*batches, pixels[-1]), tf.float32)
                self.steps.get_concrete_function(tf.TensorSpec((images, *pixels), tf.uint8), *numbers, strength)
                named.add(len(steps))
            if is_last:
                return

    def run(self, number: int) -> None:
        """Learn from every batch of an epoch once. What the one after it needs is made meanwhile."""
        if number != self._next:
            self._calls = _ahead(self.arguments, self.places(number))
        self._next = number + 1
        said = time.monotonic()
        for arguments, is_last in self._calls:
            self.steps(*arguments)
            if is_last:
                return
            if time.monotonic() - said >= _HEARTBEAT_S:
                said = time.monotonic()
                console.say(f"epoch {number + 1:>3} goes on")

    def places(self, number: int) -> Iterator[tuple[int, range, bool]]:
        """Epoch, steps and whether they are its last, of every call from epoch `number` on."""
        batches = self._batches(number)
        steps = together = len(batches)
        if not self._cells.are_there:
            together = max(1, _SENT_BYTES // (batches.batch_size * self._cells.bytes_each))
        if not self._xla:
            together = min(together, _WITHOUT_XLA)
        for epoch in count(number):
            for start in range(0, steps, together):
                yield epoch, range(start, min(start + together, steps)), start + together >= steps

    def arguments(self, place: tuple[int, range, bool]) -> tuple[tuple[Any, ...], bool]:
        """Of one call of the compiled steps; and whether it is an epoch's last."""
        epoch, steps, is_last = place
        drawn = [self._batches(epoch).draw(step) for step in steps]
        images, rows = self._cells.at(np.concatenate([rows for rows, _ in drawn]))
        changes = [changes for _, changes in drawn]
        numbers = [rows.reshape(len(steps), -1)]
        numbers += [np.stack([getattr(each, name) for each in changes]) for name in ("quarters", "up_down", "left_right")]
        strength = np.stack([each.strength for each in changes])
        return (images, *(_sent(part.astype(np.int32)) for part in numbers), _sent(strength.astype(np.float32))), is_last


def logits(network: Any, cells: Cells, xla: bool) -> NDArray[np.float32]:
    """Of all images, in large batches of one size."""
    import tensorflow as tf

    if not len(cells):
        return np.empty(0, dtype=np.float32)
    forward, size = scoring(network, cells, xla)
    batches = -(-len(cells) // size)
    filled_up = np.arange(batches * size) % len(cells)
    found = [forward(tf.gather(*seen)) for seen in _ahead(cells.at, np.split(filled_up, batches))]
    return np.concatenate([np.asarray(part) for part in found])[: len(cells)]


def scoring(network: Any, cells: Cells, xla: bool) -> tuple[Any, int]:
    """What gives a batch's logits, named as a training's programs are; and how many images a batch has."""
    size = max(1, min(_SCORED_AT_ONCE, _SCORED_BYTES // cells.bytes_each))
    return _forward(network, xla, (size, *cells.shape_each)), size


def forget() -> None:
    """Free the networks whose compiled code is kept."""
    _steps.cache_clear()
    _forward.cache_clear()


def changed(images: Tensor, quarters: Tensor, up_down: Tensor, left_right: Tensor, strength: Tensor) -> Tensor:
    """What `augment` makes of uint8 `(n, px, px, 3)`, bit by bit; the other arguments are the parts of `Changes`."""
    import tensorflow as tf

    n, px, _, channels = images.shape
    places = tf.gather(_places(px), quarters + 4 * up_down + 8 * left_right)
    oriented = tf.gather(tf.reshape(images, (n, px * px, channels)), places, batch_dims=1)
    rows = tf.reshape(oriented, (n, px, px * channels))  # for processors: a factor a pixel's colour takes them longer
    absorbed = tf.minimum(tf.cast(255 - rows, tf.float32) * tf.tile(strength, (1, px))[:, None], 255.0)
    return tf.reshape(tf.cast(255.5 - absorbed, tf.uint8), images.shape)


def _places(px: int) -> NDArray[np.int32]:
    """Where each pixel of an oriented image lies in the image, `(16, px * px)`: a row for each of `orient`'s choices."""
    choices = np.arange(16)
    untouched = np.broadcast_to(np.arange(px * px, dtype=np.int32).reshape(px, px), (16, px, px))
    return orient(untouched, choices % 4, choices // 4 % 2, choices // 8).reshape(16, px * px)


@lru_cache(maxsize=1)
def _steps(network: Any, xla: bool) -> Any:
    """Learns from the batches of `rows` `(steps, batch)`, one after the other."""
    import tensorflow as tf

    # XLA compiles every number of steps anew, and is given few; without it one graph does for all.
    @tf.function(jit_compile=xla, reduce_retracing=not xla, autograph=False)  # type: ignore[untyped-decorator]  # no types
    def steps(cells: Tensor, rows: Tensor, quarters: Tensor, up_down: Tensor, left_right: Tensor, strength: Tensor) -> None:
        number = tf.shape(rows)[0]
        labels = tf.constant(np.repeat([0.0, 1.0], rows.shape[1] // 2)[:, None], tf.float32)

        def one(step: Tensor) -> Tensor:
            images = tf.gather(cells, rows[step])
            images = changed(images, quarters[step], up_down[step], left_right[step], strength[step])
            network.train_step((images, labels))
            return (step + 1,)

        tf.while_loop(lambda step: step < number, one, (tf.constant(0),))

    return steps


@lru_cache(maxsize=1)
def _forward(network: Any, xla: bool, shape: tuple[int, ...]) -> Any:
    """Logits `(n,)` of uint8 images of `shape`, `(n, px, px, 3)`."""
    import tensorflow as tf

    forward = tf.function(lambda images: network(images, training=False)[:, 0], jit_compile=xla, autograph=False)
    return forward.get_concrete_function(tf.TensorSpec(shape, tf.uint8))


def _sent(array: NDArray[Any]) -> Tensor:
    """An array on the device."""
    import tensorflow as tf

    with tf.device("GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"):
        return tf.identity(array)


def _ahead(make: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `make` makes of each, in order, by threads that are two ahead."""
    pool = ThreadPoolExecutor(_IN_FLIGHT)
    making: deque[Future[R]] = deque()
    try:
        for item in items:
            making.append(pool.submit(make, item))
            if len(making) > _IN_FLIGHT:
                yield making.popleft().result()
        while making:
            yield making.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
