"""What curation finds and what it is good for, where the truth is known. `python -m bench.curation [--share ...] [--rows N]`

A cohort of the demo is drawn, 30 controls and 24 patients of NPM1 with 60 images each, of which a share shows leukaemic cells
(15 to 35 % of everybody's are artefacts or out of focus), and embedded. At a share of 100 % there is no noise: all images of
the patients show leukaemic cells, and controls' are without artefacts. Everything is out of fold, five folds of patients, and
what is learned of training images is learned on training patients alone.

1. Of the images of a patient that look healthiest (`ranking.flagged`): precision and recall of cells that are not leukaemic,
   means over patients with bounds by Student's t, and the area under the ROC curve within a patient.
2. Three trainings on vectors: none, a regression on images that all count the same, and the mean of a patient's logits;
   down-weighted, the same by `suspicion.weights`; bags, the learner of params.yaml. Tested on everybody: patient AUROC, and
   image AUROC of leukaemic cells against controls' (true labels), each with its gain over none by the jackknife over patients.
   With --networks instead a small network is trained on the cells, without and with weights.

With --rows seconds and memory of ranking are measured, at so many drawn vectors of 1,280 numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from pipeline.bags import inner_folds, instances, pooled, scoring
from pipeline.bags.patients import Patients
from pipeline.common import config, paths
from pipeline.common.params_data import Pack
from pipeline.common.params_learning import CnnCandidate, Network, PooledLearner, VectorsEncoder
from pipeline.curation import ranking, suspicion
from pipeline.demo import cohort
from pipeline.evaluation import metrics
from pipeline.folds import split_table
from pipeline.images import decoding

SUBTYPE, CONTROLS, PATIENTS, IMAGES, SEED = "NPM1", 30, 24, 60, 20
SHARES, UNUSABLE, FOLDS = (5, 15, 50, 100), (0.15, 0.35), 5
CONFIDENCE = 0.95
FLAGGED = (0.25, 0.5)
NETWORK_PX = 32
PUBLISHED, DIMENSION = {"control": 60, "PML_RARA": 24, "NPM1": 36, "CBFB_MYH11": 37, "RUNX1_RUNX1T1": 32}, 1280


@dataclass(frozen=True)
class Drawn:
    """Bags, labels, truth (a row an image: patient, path, kind) and cells, patients one after the other."""

    bags: list[scoring.Bag]
    labels: np.ndarray
    truth: pd.DataFrame
    cells: np.ndarray


def draw(share: int, label: int, settings: config.Config, folder: Path) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Vectors, truth and small cells of one class, kept in `folder` for the next time."""
    name = f"{share}-{label}" if label else "control"
    if not (folder / f"{name}.npz").exists():
        from pipeline.encoders.encoder import Encoder
        from pipeline.machine import device

        machine = device.prepare("float32")
        known = settings.suspect.encoder
        made_by = settings.encoders[known]
        assert not isinstance(made_by, VectorsEncoder)  # nobody made vectors of cells that are drawn here
        encoder = Encoder(known, made_by, machine)
        diseased, unusable = (share / 100 if label else 0.0,) * 2, (0.0, 0.0) if label and share == 100 else UNUSABLE
        class_name = SUBTYPE if label else "control"
        counts = {class_name: PATIENTS if label else CONTROLS}
        people = cohort.draw_patients("control", counts, (IMAGES, IMAGES), diseased, SEED, unusable)
        rows, small = [], []

        def images() -> Iterator[NDArray[np.uint8]]:
            for person in people:
                for cell in cohort.draw_cells(person, "control", SEED):
                    rows.append((person.patient, f"{class_name}/{person.patient}/{cell.image}", cell.kind))
                    small.append(decoding.resize(cell.pixels, NETWORK_PX))
                    yield decoding.resize(cell.pixels, encoder.px)

        vectors = np.concatenate(list(encoder.vectors(images())))
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{name}.npz", vectors=vectors, cells=np.array(small))
        pd.DataFrame(rows, columns=["patient", "path", "kind"]).to_parquet(folder / f"{name}.parquet")
    with np.load(folder / f"{name}.npz") as held:
        return held["vectors"], pd.read_parquet(folder / f"{name}.parquet"), held["cells"]


def cohort_of(share: int, settings: config.Config, folder: Path) -> Drawn:
    """Controls and the subtype's patients."""
    parts = [draw(share, label, settings, folder) for label in (0, 1)]
    if share == 100:
        sound = [table["kind"].isin(["normal", "leukaemic"]).to_numpy() for _, table, _ in parts]
        parts = [(one[chosen], table[chosen], two[chosen]) for (one, table, two), chosen in zip(parts, sound, strict=True)]
    truth = pd.concat([table.assign(label=label) for label, (_, table, _) in enumerate(parts)], ignore_index=True)
    vectors, cells = (np.concatenate([part[place] for part in parts]) for place in (0, 2))
    groups = truth.groupby("patient", sort=False).indices
    bags = [vectors[rows] for rows in groups.values()]
    labels = np.array([truth["label"].iloc[rows[0]] for rows in groups.values()])
    return Drawn(bags, labels, truth, cells)


def over_patients(values: np.ndarray) -> str:
    """Mean and bounds by Student's t."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return "-"
    reach = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} ({max(values.mean() - reach, 0):.2f} to {min(values.mean() + reach, 1):.2f})"


def found(share: int, drawn: Drawn, settings: config.Config) -> list[dict[str, object]]:
    """Precision and recall of the flagged, by the ranking's own regression."""
    split = pd.DataFrame({"label": drawn.labels, "fold": folds(drawn.labels)})
    logits = ranking.logits(settings, SUBTYPE, Patients(split, drawn.bags, [], {}))
    table = drawn.truth.assign(logit=np.concatenate(logits))
    own = table[table["label"] == 1].copy()
    own["healthy"] = (-own["logit"]).groupby(own["patient"]).rank(method="first", ascending=False).astype(int)
    rows = []
    for flagged_share in FLAGGED:
        own["flagged"] = ranking.flagged(own, flagged_share)
        figures = []
        for _, one in own.groupby("patient"):
            right = (one["kind"] != "leukaemic").to_numpy()
            hit = right & one["flagged"].to_numpy()
            auroc = metrics.auroc(right.astype(int), -one["logit"].to_numpy())
            recall = hit.sum() / right.sum() if right.any() else np.nan
            figures.append((hit.sum() / one["flagged"].sum(), recall, auroc, right.mean()))
        precision, recall, auroc, base = np.array(figures).T
        row = {"blasts": share, "flagged": flagged_share, "not leukaemic": f"{base.mean():.2f}"}
        means = {"precision": precision, "recall": recall, "AUROC within": auroc}
        rows.append({**row, **{name: over_patients(values) for name, values in means.items()}})
    return rows


def folds(labels: np.ndarray) -> np.ndarray:
    """The fold of each patient."""
    found = np.empty(len(labels), dtype=np.int64)
    for fold, (_, others) in enumerate(inner_folds.deal(labels, FOLDS, SEED)):
        found[others] = fold
    return found


def trained(drawn: Drawn, settings: config.Config) -> dict[str, tuple[list[np.ndarray], np.ndarray]]:
    """By training: the logits of every patient's images (None of bags), and of every patient."""
    labels, penalty = drawn.labels, settings.suspect.penalty
    images = {name: [np.empty(0)] * len(labels) for name in ("none", "down-weighted")}
    bags = np.empty(len(labels))
    learner = settings.bag_of("bags").learner
    assert isinstance(learner, PooledLearner)
    for fold, (rows, others) in enumerate(inner_folds.deal(labels, FOLDS, SEED)):
        own = [drawn.bags[row] for row in rows]
        weights = suspicion.weights(own, labels[rows], settings.suspect, fold)
        for name, weighed in (("none", None), ("down-weighted", weights)):
            learned = instances.of_images(own, labels[rows], penalty, weighed)
            for row in others:
                images[name][row] = scoring.image_logits(learned, drawn.bags[row])
        known = pooled.fit(own, labels[rows], learner, fold)
        bags[others] = scoring.logits("pooled", known, [drawn.bags[row] for row in others])
    by_name = {name: (logits, np.array([own.mean() for own in logits])) for name, logits in images.items()}
    return {**by_name, "bags": ([], bags)}


def networks(drawn: Drawn, settings: config.Config) -> dict[str, tuple[list[np.ndarray], np.ndarray]]:
    """The same of a small network on the cells, by the code and the files of `train`."""
    from pipeline.networks import training

    chosen = settings.model_copy(update={"subtypes": [SUBTYPE], "pack": Pack(px=NETWORK_PX)})
    small = Network(first_conv=16, conv=[32, 32], dense=[32], learning_rate=1e-3)
    published = chosen.candidates["published"]
    assert isinstance(published, CnnCandidate)
    published.networks[SUBTYPE] = small
    split = pd.DataFrame({"patient": drawn.truth["patient"].unique(), "label": drawn.labels, "fold": folds(drawn.labels)})
    found = {name: [np.empty(0)] * len(drawn.labels) for name in ("none", "down-weighted")}
    place = {patient: row for row, patient in enumerate(split["patient"])}
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        for folder in (paths.CELLS, paths.SPLITS, paths.weights(SUBTYPE, "published", 0).parent):
            folder.mkdir(parents=True)
        split.assign(images=IMAGES).to_csv(paths.split_table(SUBTYPE), index=False)
        tables, cells = [], []
        for label, class_name in enumerate(("control", SUBTYPE)):
            own = drawn.truth["label"] == label
            tables.append(drawn.truth.loc[own, ["patient", "path"]].reset_index(drop=True))
            cells.append(drawn.cells[own.to_numpy()])
            np.save(paths.cells(class_name), cells[-1])
            tables[-1].to_parquet(paths.cell_rows(class_name))
        for fold in range(FOLDS):
            roles = split_table.roles(split, fold, FOLDS)
            rows = np.flatnonzero(roles == "train")
            weights = suspicion.weights([drawn.bags[row] for row in rows], drawn.labels[rows], settings.suspect, fold)
            of_paths = [drawn.truth.loc[drawn.truth["patient"] == split["patient"][row], "path"] for row in rows]
            counted = pd.DataFrame({"path": pd.concat(of_paths), "weight": np.concatenate(weights)})
            for way, some in (("none", counted[:0]), ("down-weighted", counted[counted["weight"] < 1])):
                some.to_csv(paths.weights(SUBTYPE, "published", fold), index=False)
                images = [own.assign(role=own["patient"].map(roles), label=n) for n, own in enumerate(tables)]
                prepared = training.prepare(chosen, SUBTYPE, "published", fold, cells, images)
                network = training.train(prepared, fold, Path(f"{way}-{fold}.npz"), lambda _row: None)
                for patient, scored in network.scored("test").groupby("patient", sort=False):
                    found[way][place[patient]] = scored["logit"].to_numpy(np.float64)
    return {way: (logits, np.array([own.mean() for own in logits])) for way, logits in found.items()}


def gains(drawn: Drawn, by_name: dict[str, tuple[list[np.ndarray], np.ndarray]]) -> list[dict[str, object]]:
    """Figures of each training, and by how much it is above the first, by the jackknife over patients."""
    labels = drawn.labels
    kinds = [own["kind"].to_numpy() for _, own in drawn.truth.groupby("patient", sort=False)]

    def patient(name: str, who: np.ndarray) -> float:
        return metrics.auroc(labels[who], by_name[name][1][who])

    def image(name: str, who: np.ndarray) -> float:
        logits, truth = [], []
        for row in who:
            chosen = kinds[row] == "leukaemic" if labels[row] else np.full(len(kinds[row]), True)
            logits.append(by_name[name][0][row][chosen])
            truth.append(np.full(chosen.sum(), labels[row]))
        return metrics.auroc(np.concatenate(truth), np.concatenate(logits))

    rows, everybody = [], np.arange(len(labels))
    first = next(iter(by_name))
    for name, (logits, _) in by_name.items():
        row: dict[str, object] = {"training": name}
        for level, figure in (("patient", patient), ("image", image)):
            if level == "image" and not logits:
                row |= {f"{level} AUROC": "-", f"{level} gain": "-"}
                continue
            value = figure(name, everybody)
            row[f"{level} AUROC"] = f"{value:.3f}"

            def gain(who: np.ndarray, of: Callable[[str, np.ndarray], float] = figure, name: str = name) -> float:
                return of(name, who) - of(first, who)

            row[f"{level} gain"] = "" if name == first else jackknife(gain, labels)
        rows.append(row)
    return rows


def jackknife(figure: Callable[[np.ndarray], float], labels: np.ndarray) -> str:
    """A difference over patients, with bounds: both classes' spread, by leaving out one patient at a time."""
    everybody = np.arange(len(labels))
    value = figure(everybody)
    without = np.array([figure(np.delete(everybody, row)) for row in everybody])
    by_class = [without[labels == label] for label in (0, 1)]
    variance = sum((len(own) - 1) ** 2 / len(own) * own.var(ddof=1) for own in by_class)
    reach = t.ppf((1 + CONFIDENCE) / 2, min(map(len, by_class)) - 1) * np.sqrt(variance)
    return f"{value:+.3f} ({value - reach:+.3f} to {value + reach:+.3f})"


def main() -> None:
    """Draw, learn, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=int, nargs="*", default=SHARES, help="of a patient's images that show leukaemic cells")
    parser.add_argument("--kept", type=Path, default=Path(".bench/curation"), help="where drawn cohorts are kept")
    parser.add_argument("--networks", action="store_true", help="small networks on cells, in place of regressions on vectors")
    parser.add_argument("--rows", type=int, help="seconds and memory of ranking so many images")
    options = parser.parse_args()
    settings = config.load()
    if options.rows:
        measure(settings, options.rows)
        return
    flagged, compared, learn = [], [], networks if options.networks else trained
    for share in options.share:
        drawn = cohort_of(share, settings, options.kept)
        if share < 100 and not options.networks:
            flagged += found(share, drawn, settings)
        compared += [{"blasts": share, **row} for row in gains(drawn, learn(drawn, settings))]
    for table in filter(None, (flagged, compared)):
        print(f"\n{pd.DataFrame(table).to_string(index=False)}")


def measure(settings: config.Config, count: int) -> None:
    """Vectors drawn, on disk as `embed` leaves them, of patients in the published cohort's numbers; ranked as `curate` does."""
    rng, each = np.random.default_rng(0), count // sum(PUBLISHED.values())
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        read, rows = {}, []
        for class_name, patients in PUBLISHED.items():
            header = {"descr": "<f4", "fortran_order": False, "shape": (patients * each, DIMENSION)}
            with Path(f"{class_name}.npy").open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(patients):
                    own = rng.normal(size=(each, DIMENSION)) + rng.normal(0, 0.3, DIMENSION)
                    own[: each // 4, :20] += class_name != "control"
                    file.write(own.astype("<f4").tobytes())
            held = np.load(f"{class_name}.npy", mmap_mode="r")
            names = [f"{class_name}-{number}" for number in range(patients)]
            paths = [[f"{class_name}/{who}/image_{n}.tif" for n in range(each)] for who in names]
            read[class_name] = names, [held[n * each : (n + 1) * each] for n in range(patients)], paths
            rows += [path for own in paths for path in own]
        manifest = pd.DataFrame({"path": rows}).assign(sharpness=rng.random(len(rows)))
        manifest = manifest.assign(**{f"std_{colour}": rng.random(len(rows)) for colour in "rgb"})
        of_subtypes = {}
        for subtype in [name for name in PUBLISHED if name != "control"]:
            both = [read["control"], read[subtype]]
            labels = np.repeat([0, 1], [len(own[0]) for own in both])
            split = pd.DataFrame({"patient": both[0][0] + both[1][0], "label": labels, "fold": folds(labels)})
            of_subtypes[subtype] = Patients(split, both[0][1] + both[1][1], both[0][2] + both[1][2], {})
        before, began, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
        ranking.table(settings, of_subtypes, manifest)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{len(rows):,} images: {took:.0f} s, {cpu:.0f} s of a processor")
    print(f"largest memory {peak / 1024:,.0f} MiB, {before / 1024:,.0f} of it before")


if __name__ == "__main__":
    main()
