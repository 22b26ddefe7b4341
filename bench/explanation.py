"""What an explanation costs at the real size, and what it is worth where the truth is known. `python -m bench.explanation`

Cells: patients with 430 drawn vectors of 1,280 numbers, and coefficients drawn like those of each learner. For every image the
patient's logit without it and that of it alone; beside that, the same by scoring a bag for each image left out. Printed:
seconds a patient of either, their ratio, and what all 81,214 images of the published cohort take.

Pixels: maps by occlusion, of the published network of PML_RARA at params.kaggle.yaml's size of image, and of the encoder that
comes with the environment, both with weights that are there or drawn: the time does not depend on them. Printed: seconds a map
and the highest memory of the process.

Planted blasts: cohorts as in bench.bags, with the learner `pooled`. Printed by blast share: of a
patient's cells that carry most of the score, as many as there are blasts, the share that are blasts, beside chance; and the
area between the deletion curves, with its interval over patients.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRAIN_THREADS", "1")

import numpy as np

from bench import bags
from pipeline.bags import pooled, scoring
from pipeline.explanation import cells, deletion, occlusion

IMAGES, DIMENSION, COHORT, PATIENTS = 430, 1280, 81_214, 189
HIDDEN, ATTENTION, MEMBERS, BLOCKS = 64, 32, 3, 12
STAINING, JUDGED = 0.5, 20
QUANTILES = np.array([0.75, 0.9])


def coefficients(learner: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Of the size that the learner has by params.kaggle.yaml."""
    if learner == "pooled":
        kinds = 2 + len(QUANTILES)
        learned = {name: rng.normal(size=kinds * DIMENSION) for name in ("mean", "weights")}
        return {**learned, "quantiles": QUANTILES, "intercept": np.array(0.0)}
    if learner == "instances":
        learned = {name: rng.normal(size=DIMENSION) for name in ("mean", "weights")}
        return {**learned, "intercept": np.array(0.0), "pooling": rng.normal(size=2), "pooling_intercept": np.array(0.0)}
    shapes = {
        **{"hidden": (DIMENSION, HIDDEN), "hidden_bias": (HIDDEN,), "view": (HIDDEN, ATTENTION), "view_bias": (ATTENTION,)},
        **{"gate": (HIDDEN, ATTENTION), "gate_bias": (ATTENTION,), "attention": (ATTENTION,), "out": (HIDDEN,), "out_bias": ()},
    }
    learned = {name: rng.normal(size=(MEMBERS, *shape)) / 10 for name, shape in shapes.items()}
    return {**learned, "mean": np.zeros(DIMENSION), "scale": np.ones(DIMENSION)}


def cost_of_cells() -> None:
    """Seconds a patient, at once and one by one."""
    print(f"learner    at once, s   one by one, s   ratio   all {COHORT:,} images, s")
    rng = np.random.default_rng(0)
    bag = rng.normal(size=(IMAGES, DIMENSION)).astype(np.float32)
    for learner in ("pooled", "instances", "attention"):
        known, start = coefficients(learner, rng), time.perf_counter()
        found = cells.left_out(learner, known, bag)
        cells.alone(learner, known, bag)
        at_once, start = time.perf_counter() - start, time.perf_counter()
        some = range(0, IMAGES, 20)
        by_hand = scoring.logits(learner, known, [np.delete(bag, row, axis=0) for row in some])
        one_by_one = (time.perf_counter() - start) / len(some) * IMAGES
        np.testing.assert_allclose(found[list(some)], by_hand, rtol=1e-7, atol=1e-7)
        print(f"{learner:10} {at_once:10.3f} {one_by_one:15.1f} {one_by_one / at_once:7.0f} {at_once * COHORT / IMAGES:15.0f}")
    known = coefficients("pooled", rng)
    start = time.perf_counter()
    orders = [np.arange(IMAGES), *deletion.random_orders(IMAGES, 10, [0])]
    for order in orders:
        deletion.curve(lambda rows: float(scoring.logits("pooled", known, [bag[rows]])[0]), order)
    took = time.perf_counter() - start
    print(
        f"\ndeletion curves of a patient against 10 random orders, pooled: {took:.1f} s; of {PATIENTS}: {took * PATIENTS:.0f} s"
    )


def cost_of_pixels() -> None:
    """Seconds a map."""
    from pipeline.encoders import efficientnet_lite0
    from pipeline.explanation import scorers
    from pipeline.machine import device
    from pipeline.networks import model

    device.prepare("float32")
    px, rng = 72, np.random.default_rng(0)
    conv = {"kind": "conv", "kernel_px": 3, "pool": True}
    spec = {
        "px": px,
        "normalisation": {"mean": [180.0] * 3, "std": [40.0] * 3},
        "precision": "float32",
        "layers": [
            {**conv, "filters": 64, "batch_norm_momentum": None},
            {**conv, "filters": 128, "batch_norm_momentum": 0.9},
            {**conv, "filters": 192, "batch_norm_momentum": 0.9},
            {"kind": "dense", "units": 128},
        ],
    }
    network = scorers.NetworkScorer(model.build(spec), px)
    built = efficientnet_lite0.build(160)
    efficientnet_lite0.take_weights(built, efficientnet_lite0.weights_file())
    encoder = scorers.BagScorer("pooled", coefficients("pooled", rng), built, np.asarray, 160)
    bag = rng.normal(size=(IMAGES, DIMENSION)).astype(np.float32)
    print("\nmap of                           side, px   s a map   highest memory, GB")
    for name, scorer in (("published network of PML_RARA", network), ("bags on efficientnet_lite0", encoder)):
        image = rng.integers(0, 256, (scorer.px, scorer.px, 3), dtype=np.uint8)
        colour = occlusion.mean_colour(image[None])
        for _ in range(2):  # the first builds the graph
            start = time.perf_counter()
            occlusion.heat(scorer.score(bag, 0), image, colour, BLOCKS)
            took = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name:32} {scorer.px:8} {took:9.2f} {memory:12.1f}")


def drawn(seed: int, share: float, label: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """So many patients' bags and which of their cells are blasts; kinds of cells, staining and look-alikes as in bench.bags."""
    places = np.random.default_rng(seed).normal(0, bags.APART, (bags.KINDS, bags.DIMENSION))
    blast = places[0] + np.random.default_rng([seed, 1]).normal(0, bags.BLAST_APART, bags.DIMENSION)
    rng, found = np.random.default_rng([seed, int(100 * share), label, count]), []
    for _ in range(count):
        part = bags.LOOK_ALIKES + (rng.beta(4 * share, 4 * (1 - share)) * (1 - bags.LOOK_ALIKES) if label else 0.0)
        blasts = rng.random(bags.CELLS) < part
        normal = places[rng.choice(bags.KINDS, bags.CELLS, p=rng.dirichlet(np.full(bags.KINDS, 5.0)))]
        stained = rng.normal(size=(bags.CELLS, bags.DIMENSION)) + rng.normal(0, STAINING, bags.DIMENSION)
        found.append(((np.where(blasts[:, None], blast, normal) + stained).astype(np.float32), blasts))
    return found


def worth(seeds: int) -> None:
    """Are the cells that carry the score the planted ones?"""
    print(
        "\nblasts   found among the first, % (chance)   area left out        area alone, logits (95 % interval over patients)"
    )
    for share in bags.SHARES:
        hits, chance = [], []
        areas: dict[str, list[float]] = {"left out": [], "alone": []}
        for seed in range(seeds):
            learned = [bag for label, count in enumerate(bags.LEARN) for bag, _ in drawn(seed, share, label, count)]
            known = pooled.fit(learned, np.repeat([0, 1], bags.LEARN), bags.POOLED, seed)
            for number, (bag, blasts) in enumerate(drawn(seed, share, 1, JUDGED)):
                if not blasts.any():
                    continue
                (logit,) = scoring.logits("pooled", known, [bag])
                ranked = {"left out": logit - cells.left_out("pooled", known, bag), "alone": cells.alone("pooled", known, bag)}
                first = np.argsort(-ranked["left out"])[: blasts.sum()]
                hits.append(blasts[first].mean())
                chance.append(blasts.mean())

                def left(rows: np.ndarray, bag: np.ndarray = bag, known: dict[str, np.ndarray] = known) -> float:
                    return float(scoring.logits("pooled", known, [bag[rows]])[0])

                random = [deletion.curve(left, order) for order in deletion.random_orders(len(bag), 5, [seed, number])]
                for way, by in ranked.items():
                    areas[way].append(deletion.area(deletion.curve(left, np.argsort(-by)), random))
        text = "   ".join(f"{deletion.over_patients(some, 0.95):.2f}" for some in areas.values())
        print(f"{share:6.0%} {np.mean(hits):14.0%} ({np.mean(chance):.0%}) {'':14} {text}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    cost_of_cells()
    cost_of_pixels()
    worth(seeds)


if __name__ == "__main__":
    main()
