"""What the processes of `bench.gpu` do: one training each, of cells that they make themselves.

python -m bench.gpu_work same FOLDER     a short training, its weights, checkpoint and losses left in FOLDER
python -m bench.gpu_work demo SEEDS      the demo's PML_RARA with seeds 0 to SEEDS - 1: image AUROC of the test patients
python -m bench.gpu_work attention FITS  seconds of each training of gated attention on patients drawn at random
python -m bench.gpu_work paused EPOCHS   a training that waits after every EPOCHS epochs until it is told a line
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from pipeline.common import config, parallel, paths
from pipeline.common.params_learning import CnnCandidate
from pipeline.demo import cohort
from pipeline.folds import dealer, image_weights, split_table
from pipeline.images import decoding
from pipeline.names import patient_names
from pipeline.networks import recipe
from pipeline.networks.epoch_images import Pool

CANDIDATE = "published"
LOSSES = "losses.json"  # of every epoch, training's and validation's
NETWORK = "PML_RARA"  # of what is done with one network only
Pools = dict[str, tuple[Pool, Pool]]


def published(tiny: bool, **train: Any) -> config.Config:
    """The published networks at 72 px, 5,000 images a class, batches of 32; or all of it tiny."""
    settings = config.load()
    known = settings.candidates[CANDIDATE]
    assert isinstance(known, CnnCandidate)
    px, networks, changes = 72, known.networks, {"batch_size": 32, "images_per_class": 5000, **train}
    if tiny:
        px, changes = 26, changes | {"batch_size": changes["batch_size"] // 4, "images_per_class": 50}
        networks = {
            name: network.model_copy(update={"first_conv": 4, "conv": [6] * len(network.conv), "dense": [5]})
            for name, network in networks.items()
        }
    candidate = known.model_copy(update={"networks": networks})
    return settings.model_copy(
        update={
            "candidates": {CANDIDATE: candidate},
            "train": settings.train.model_copy(update=changes),
            "pack": settings.pack.model_copy(update={"px": px}),
        }
    )


def made(settings: config.Config) -> Pools:
    """Cells of noise, those of the subtype a little brighter in the middle: training images, a fifth of them to validate."""
    rng, px = np.random.default_rng(0), settings.pack.px
    count = settings.train.images_per_class or 0

    def pool(number: int, bright: int) -> Pool:
        cells = rng.integers(0, 220, (number, px, px, 3), dtype=np.uint8)
        cells[:, px // 4 : -(px // 4), px // 4 : -(px // 4)] += np.uint8(bright)
        return Pool(cells, np.arange(number), np.repeat("A", number).astype(object))

    return {role: (pool(number, 0), pool(number, 30)) for role, number in (("train", count), ("val", count // 5))}


def drawn(settings: config.Config) -> Pools:
    """The demo cohort's cells, as `ingest`, `split` and `pack` make them, of control and `NETWORK`."""
    demo, classes = settings.ingest.demo, (settings.control, NETWORK)
    patients = cohort.draw_patients(
        settings.control,
        demo.patients,
        (demo.images_per_patient[0], demo.images_per_patient[1]),
        (demo.diseased_share[0], demo.diseased_share[1]),
        demo.seed,
        (demo.unusable_share[0], demo.unusable_share[1]),
    )
    own = [patient for patient in patients if patient.class_name in classes]
    jobs = [(patient, settings.control, demo.seed, settings.pack.px) for patient in own]
    cells = list(parallel.each(_cells, jobs, images=100))  # to draw one takes as long as to read many
    table = pd.DataFrame({"patient": [each.patient for each in patients], "class": [each.class_name for each in patients]})
    table = table.assign(who=table["patient"].map(patient_names.identity), set=range(len(table)))
    dealt = table.assign(fold=table["who"].map(dealer.deal(table, {}, settings.split.n_folds, settings.seed)))
    roles = split_table.roles(dealt, 0, settings.split.n_folds)
    parts: dict[str, list[Any]] = {"cells": [], "tables": []}
    for label, name in enumerate(classes):
        mine = [number for number, patient in enumerate(own) if patient.class_name == name]
        parts["cells"].append(np.concatenate([cells[number] for number in mine]))
        names = np.repeat([own[number].patient for number in mine], [len(cells[number]) for number in mine])
        rows = pd.DataFrame({"patient": names, "label": label})
        parts["tables"].append(rows.assign(role=rows["patient"].map(roles), weight=1.0))
    return recipe.pools(settings, parts["cells"], parts["tables"])


def _cells(job: tuple[cohort.Patient, str, int, int]) -> Any:
    patient, control, seed, px = job
    return np.stack([decoding.resize(cell.pixels, px) for cell in cohort.draw_cells(patient, control, seed)])


def machine(tiny: bool, **changes: Any) -> Any:
    """This machine's device; a processor does as a GPU would, unless the changes say otherwise."""
    from pipeline.machine import device

    found = device.prepare("auto")
    return replace(found, **{**({"xla": True, "batches": "device"} if tiny else {}), **changes})


def spec(settings: config.Config, subtype: str, pools: Pools, on: Any) -> dict[str, Any]:
    """Of a training without files to depend on."""
    no_weights = mock.patch.multiple(image_weights, read=mock.Mock(), curated=mock.Mock(return_value={}))
    with mock.patch.object(recipe, "digests", return_value={}), mock.patch.object(paths, "existing"), no_weights:
        return recipe.spec(settings, subtype, CANDIDATE, 0, recipe.normalisation(pools["train"]), asdict(on))


def train(settings: config.Config, pools: Pools, on: Any, seed: int, folder: Path, on_epoch: Any = None) -> Any:
    """The network of `NETWORK` after a training, or after the rest of one that was killed; its weights lie in `folder`."""
    from pipeline.networks import model, training_loop

    training_loop.forget_networks()
    found = spec(settings, NETWORK, pools, on)
    model.seed_everything(seed)
    network = training_loop.trainable(found, on)
    rate = settings.network_of(NETWORK, CANDIDATE).learning_rate
    told = on_epoch or (lambda row: None)
    training_loop.fit(network, pools["train"], pools["val"], settings.train, rate, seed, on, folder / "checkpoint.npz", told)
    training_loop.save_weights(network, found, folder / "model.weights.h5")
    return network


def _same(folder: Path, tiny: bool, sent: bool) -> None:
    from pipeline.machine import device
    from pipeline.networks import epoch_on_device

    settings = published(tiny, images_per_class=1000, max_epochs=30, min_epochs=30, dropout=0.25)
    if sent:
        mock.patch.object(device, "room_bytes", return_value=0).start()
        bytes_of_batch = settings.train.batch_size * settings.pack.px**2 * 3
        mock.patch.object(
            epoch_on_device, "_SENT_BYTES", 5 * bytes_of_batch
        ).start()  # several calls an epoch, the last shorter
    rows: list[dict[str, float]] = []
    train(settings, made(settings), machine(tiny), 7, folder, rows.append)
    (folder / LOSSES).write_text(json.dumps([[row["loss"], row["val_loss"]] for row in rows]))


def _demo(seeds: int, tiny: bool, by_host: bool) -> None:
    from pipeline.networks import training_loop

    settings = published(tiny, max_epochs=2, min_epochs=1) if tiny else config.load()
    on = machine(tiny and not by_host)
    pools = drawn(settings)
    labels = np.repeat([0, 1], [len(pool.rows) for pool in pools["test"]])
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            network = train(settings, pools, on, seed, Path(folder))
        logits = np.concatenate([training_loop.pool_logits(network, pool, on) for pool in pools["test"]])
        print(f"AUROC {roc_auc_score(labels, logits):.6f}", flush=True)


def _paused(epochs: int, tiny: bool) -> None:
    settings = published(tiny, max_epochs=10**6, min_epochs=10**6)
    pools = made(settings)

    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] % epochs == epochs - 1:
            print("waits", flush=True)
            if not sys.stdin.readline():
                sys.exit(0)

    with tempfile.TemporaryDirectory() as folder:
        train(settings, pools, machine(tiny), 7, Path(folder), on_epoch)


def _attention(fits: int, tiny: bool) -> None:
    from bench.bags import ATTENTION
    from pipeline.bags import attention

    patients, images, dimension = (24, 20, 16) if tiny else (67, 430, 1280)  # four of five folds of 60 + 24
    rng, labels = np.random.default_rng(0), (np.arange(patients) % 7 < 2).astype(np.int64)
    bags = [rng.normal(label, 1, (images, dimension)).astype(np.float32) for label in labels * 0.1]
    for fit in range(fits):
        started = time.perf_counter()
        attention.fit(bags, labels, ATTENTION, fit)
        print(f"seconds {time.perf_counter() - started:.1f}", flush=True)


def main(arguments: Iterable[str] | None = None) -> None:
    """Do one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["same", "demo", "attention", "paused"])
    parser.add_argument("argument")
    parser.add_argument("--processor", action="store_true", help="tiny networks, on a processor as a GPU would train them")
    parser.add_argument("--by-host", action="store_true", help="of demo: on a processor as a processor trains")
    parser.add_argument("--sent", action="store_true", help="as if the cells did not fit into the device's memory")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.what == "same":
        _same(Path(options.argument), options.processor, options.sent)
    elif options.what == "demo":
        _demo(int(options.argument), options.processor, options.by_host)
    elif options.what == "attention":
        _attention(int(options.argument), options.processor)
    else:
        _paused(int(options.argument), options.processor)


if __name__ == "__main__":
    main()
