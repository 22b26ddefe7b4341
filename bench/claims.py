"""What the page claims of cohorts in which it is known what there is to find. `python -m bench.claims [kind ...]`

Every draw is a demo cohort of another seed, taken through ingest, validate, split, pack, train (all folds), evaluate and audit.
Three kinds: the subtype's patients show leukaemic cells; they show none, so that there is nothing to find; they show none, but
their images are less red, a shortcut. A claim is a lower bound of the patient AUROC above .5. The network and the cohort are
small, so that sixty cohorts take half an hour on two cores.
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

from pipeline.common import config, paths
from pipeline.stages import audit, deal, evaluate, ingest, pack, split, train, validate

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
    return config.Config.model_validate(values)


def redden(by: float) -> None:
    """Multiply the red of the subtype's delivered images."""
    for path in sorted((paths.RAW / SUBTYPE).rglob("*.tif")):
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(np.float64)
        pixels[..., 0] *= by
        path.unlink()
        Image.fromarray(pixels.round().astype(np.uint8)).save(path)


def draw(kind: str, seed: int) -> dict[str, object]:
    """One cohort through the pipeline; what the page says of it."""
    share, red = KINDS[kind]
    chosen = settings(seed, share)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), contextlib.redirect_stdout(io.StringIO()):
        Path("data").mkdir()
        Path("data/exclude.csv").write_bytes((ROOT / "data" / "exclude.csv").read_bytes())
        ingest.run(chosen)
        if red != 1:
            redden(red)
        for stage in (validate, deal, split, pack):
            stage.run(chosen)
        for fold in range(FOLDS):
            train.run(chosen, SUBTYPE, "published", fold)
        evaluate.run(chosen, [SUBTYPE], ["published"])
        audit.run(chosen, [SUBTYPE], ["published"])
        auroc = json.loads((paths.report(SUBTYPE, "published") / "metrics.json").read_text())["patient_auroc"]
        checks = {check["name"]: check for check in json.loads(paths.audit(SUBTYPE, "published").read_text())["checks"]}
    colour = checks["colour_only"]
    return {
        "kind": kind,
        "auroc": auroc["value"],
        "colour": colour["value"]["patient_auroc"],
        "claims": auroc["low"] > 0.5,
        **{state: colour["state"] == state for state in ("red", "amber", "clear")},
        "both": auroc["low"] > 0.5 and colour["state"] == "clear",
    }


def main() -> None:
    """Print rates by kind of cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="cohorts of each kind")
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all when left out")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory() as records:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{records}/mlflow.db"
        rows = []
        for seed in range(options.draws):
            for kind in options.kinds or KINDS:
                rows.append(draw(kind, seed))
                print({key: round(v, 3) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True)
    found = pd.DataFrame(rows).groupby("kind", sort=False)
    print(f"\n{options.draws} cohorts of each kind\n")
    print("| cohort | AUROC, median | colours, median | claims something | colours red | amber | clear | claims, clear |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, of_kind in found:
        medians = of_kind[["auroc", "colour"]].median()
        counts = of_kind[["claims", "red", "amber", "clear", "both"]].sum()
        print(f"| {kind} | {medians['auroc']:.2f} | {medians['colour']:.2f} | " + " | ".join(f"{n}" for n in counts) + " |")


if __name__ == "__main__":
    main()
