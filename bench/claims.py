"""What the page claims of cohorts in which it is known what there is to find. `python -m bench.claims [kind ...]`

Every draw is a demo cohort of another seed, taken through ingest, validate, split, pack, train (all folds), evaluate and audit.
Three kinds: the subtype's patients show leukaemic cells; they show none, so that there is nothing to find; they show none, but
their images are less red, a shortcut. A claim is a lower bound of the patient AUROC above .5. The network and the cohort are
small, so that sixty cohorts take half an hour on two cores.

With --bags the learner is the bags of params.yaml, on cohorts drawn as vectors and colours (`bench.drawn_bags`): seconds each,
so that there can be hundreds. Of the share that claims something the 95 % bounds are printed (Clopper & Pearson 1934).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from ruamel.yaml import YAML
from scipy.stats import binomtest

from bench import drawn_bags
from pipeline.common import config, paths
from pipeline.stages import audit, deal, evaluate, ingest, pack, split, train, train_bags, validate, weigh

ROOT = Path(__file__).resolve().parents[1]
SUBTYPE, FOLDS = "NPM1", 3
# share of a patient's images that show a leukaemic cell, by what the red of the subtype's images is multiplied
KINDS = {
    "morphology": ([0.5, 0.95], 1.0),
    "nothing to find": ([0.0, 0.0], 1.0),
    "a colour shortcut": ([0.0, 0.0], 0.85),
}


def settings(seed: int, diseased_share: list[float]) -> config.Config:
    """A small cohort and a small network, all folds."""
    values: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["subtypes"] = [SUBTYPE]
    values["seed"] = seed
    values["ingest"]["demo"] |= {
        "seed": seed,
        "patients": {"control": 24, SUBTYPE: 18},
        "images_per_patient": [8, 16],
        "diseased_share": diseased_share,
        "unusable_share": [0.0, 0.0],
    }
    values["split"]["n_folds"] = FOLDS
    values["pack"]["px"] = 32
    small = {"first_conv": 16, "conv": [32], "dense": [32], "learning_rate": 1e-3}
    values["train"]["max_epochs"], values["folds"] = 10, list(range(FOLDS))
    values["candidates"]["published"]["networks"] = {SUBTYPE: small}
    encoder = values["candidates"]["bags"]["encoder"] = drawn_bags.ENCODER
    values["encoders"] = {encoder: {"kind": "vectors", "folder": "-", "dimension": drawn_bags.DIMENSION, "sha256": "0" * 64}}
    return config.Config.model_validate(values)


def redden(by: float) -> None:
    """Multiply the red of the subtype's delivered images."""
    for path in sorted((paths.RAW / SUBTYPE).rglob("*.tif")):
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(np.float64)
        pixels[..., 0] *= by
        path.unlink()
        Image.fromarray(pixels.round().astype(np.uint8)).save(path)


def learn(chosen: config.Config, seed: int, share: list[float], red: float, candidate: str) -> None:
    """A cohort, from its drawing to what a candidate's training leaves."""
    Path("data").mkdir()
    if candidate == "bags":
        drawn_bags.write(SUBTYPE, FOLDS, seed, (share[0], share[1]), red)
        weigh.run(chosen)
        train_bags.run(chosen, [SUBTYPE], [candidate])
        return
    Path("data/exclude.csv").write_bytes((ROOT / "data" / "exclude.csv").read_bytes())
    ingest.run(chosen)
    if red != 1:
        redden(red)
    for stage in (validate, deal, split, pack, weigh):
        stage.run(chosen)
    for fold in range(FOLDS):
        train.run(chosen, SUBTYPE, candidate, fold)


def draw(kind: str, seed: int, candidate: str, claims_only: bool) -> dict[str, object]:
    """One cohort through the pipeline; what the page says of it."""
    share, red = KINDS[kind]
    chosen = settings(seed, share)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), contextlib.redirect_stdout(io.StringIO()):
        learn(chosen, seed, share, red, candidate)
        evaluate.run(chosen, [SUBTYPE], [candidate])
        auroc = json.loads((paths.report(SUBTYPE, candidate) / "metrics.json").read_text())["patient_auroc"]
        found = {"kind": kind, "auroc": auroc["value"], "claims": auroc["low"] > 0.5}
        if claims_only:
            return found
        audit.run(chosen, [SUBTYPE], [candidate])
        checks = {check["name"]: check for check in json.loads(paths.audit(SUBTYPE, candidate).read_text())["checks"]}
    colour = checks["colour_only"]
    return {
        **found,
        "colour": colour["value"]["patient_auroc"],
        **{state: colour["state"] == state for state in ("red", "amber", "clear")},
        "both": found["claims"] and colour["state"] == "clear",
    }


def main() -> None:
    """Print rates by kind of cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="cohorts of each kind")
    parser.add_argument("--first", type=int, default=0, help="seed of the first: more draws, or several processes")
    parser.add_argument("--claims-only", action="store_true", help="no audit and no pictures: for many draws")
    parser.add_argument("--bags", action="store_true", help="bags on drawn vectors in place of networks on drawn images")
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all when left out")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(KINDS)}")
    if options.claims_only:
        evaluate._write_plots = lambda *_: None
    with tempfile.TemporaryDirectory() as records:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{records}/mlflow.db"
        rows = []
        for seed in range(options.first, options.first + options.draws):
            for kind in options.kinds or KINDS:
                rows.append(draw(kind, seed, "bags" if options.bags else "published", options.claims_only))
                print({key: round(v, 3) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True)
    table = pd.DataFrame(rows)
    print(f"\n{options.draws} cohorts of each kind\n")
    if not options.claims_only:
        print("| cohort | AUROC, median | colours, median | claims something | colours red | amber | clear | claims, clear |")
        print("|---|---|---|---|---|---|---|---|")
        for kind in dict.fromkeys(table["kind"]):
            of_kind = table[table["kind"] == kind]
            medians = of_kind[["auroc", "colour"]].median()
            counts = of_kind[["claims", "red", "amber", "clear", "both"]].sum()
            print(f"| {kind} | {medians['auroc']:.2f} | {medians['colour']:.2f} | " + " | ".join(f"{n}" for n in counts) + " |")
    for kind in dict.fromkeys(table["kind"]):
        claims = table.loc[table["kind"] == kind, "claims"]
        share = binomtest(int(claims.sum()), len(claims)).proportion_ci(0.95)
        print(f"{kind}: {claims.sum()} of {len(claims)} claim something: {share.low:.3f} to {share.high:.3f} of such cohorts")


if __name__ == "__main__":
    main()
