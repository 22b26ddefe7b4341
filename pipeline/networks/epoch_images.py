"""Which images a training sees, in which order: as many of every patient as possible, as many of each class.

Everything follows from the seed and the epoch's number, so a resumed training sees what an uninterrupted one would.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Images of one class: rows of a (memory-mapped) uint8 `(images, px, px, 3)` and each row's patient `(rows,)`.

    `weights` `(rows,)`, above 0, say how often a row is shown beside others of its patient; None: each as often.
    """

    cells: NDArray[np.uint8]
    rows: NDArray[np.int64]
    patients: NDArray[np.object_]
    weights: NDArray[np.float64] | None = None

    def take(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels `(n, px, px, 3)` of the rows numbered `chosen`."""
        return np.asarray(self.cells[self.rows[chosen]])

    def expect(self, chosen: NDArray[np.int64]) -> None:
        """Have the system read the rows numbered `chosen` from the disk meanwhile, if that is where the cells are.

        The pool alone knows where its rows lie; no answer is waited for, and a system that will not is no error.
        """
        cells = self.cells
        file: object = cells.base
        if not (isinstance(cells, np.memmap) and isinstance(file, mmap.mmap) and hasattr(file, "madvise")):
            return
        first, bytes_each = cells.offset % mmap.ALLOCATIONGRANULARITY, cells.strides[0]
        for row in self.rows[chosen].tolist():
            start = first + row * bytes_each
            within = start % mmap.PAGESIZE
            with suppress(OSError):
                file.madvise(mmap.MADV_WILLNEED, start - within, within + bytes_each)


def evenly(patients: NDArray[np.object_], count: int, rng: np.random.Generator) -> Rows:
    """Draw `count` rows without repetition, as evenly over their patients as the patients' numbers of images allow.

    `patients` `(rows,)` names each row's patient. Returns ascending row numbers; all rows when there are fewer than `count`.
    """
    order = rng.permutation(len(patients))
    _, codes = np.unique(patients[order].astype(str), return_inverse=True)
    by_patient = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[by_patient], np.arange(codes.max(initial=-1) + 1))
    turn = np.empty(len(patients), dtype=np.int64)  # 0 for a patient's first drawn row, 1 for the second ...
    turn[by_patient] = np.arange(len(patients)) - starts[codes[by_patient]]
    # Everybody's first row, then everybody's second ...; within a turn the permutation decides.
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def by_weight(chosen: Rows, patients: NDArray[np.object_], weights: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    """As many rows of each patient as `chosen` has, drawn from all of the patient's by their `weights` `(rows,)`.

    A row comes as often as its share of the patient's weight says, rounded up or down by lot; so several times if it has much.
    """
    found = []
    for patient, count in zip(*np.unique(patients[chosen].astype(str), return_counts=True), strict=True):
        own = rng.permutation(np.flatnonzero(patients == patient))
        ends = np.cumsum(weights[own])
        places = (rng.random() + np.arange(count)) / count * ends[-1]
        found.append(own[np.minimum(np.searchsorted(ends, places, side="right"), len(own) - 1)])
    return np.sort(np.concatenate(found))


def epoch_order(control: Pool, subtype: Pool, seed: int, epoch: int) -> tuple[Rows, Rows]:
    """Row numbers of the two classes for one epoch, each `(n,)` in the order of presentation.

    n is the smaller class's number of rows; of the larger class every epoch draws another n, evenly over patients.
    """
    rng = np.random.default_rng([seed, epoch])
    n = min(len(control.rows), len(subtype.rows))
    first, second = (_order(pool, n, rng) for pool in (control, subtype))
    return first, second


def _order(pool: Pool, n: int, rng: np.random.Generator) -> Rows:
    chosen = evenly(pool.patients, n, rng)
    if pool.weights is not None:
        chosen = by_weight(chosen, pool.patients, pool.weights, rng)
    return rng.permutation(chosen)


def steps(images_per_class: int, batch_size: int) -> int:
    """Batches an epoch: every image at least once."""
    return -(-images_per_class // (batch_size // 2))


def batch_rows(order: Rows, step: int, batch_size: int) -> Rows:
    """The `(batch_size / 2,)` rows of one class in batch `step`; the last batch is filled up from the epoch's start."""
    half = batch_size // 2
    return order[np.arange(step * half, (step + 1) * half) % len(order)]
