"""Make vectors by a fold's network, up to the layer before its last: data/vectors/<subtype>-<candidate>/fold-<k>/.

As of every encoder there are <class>.npy, float32 `(images, units)`, its rows and encoder.json: of the images alone on whose
patients the network did not train. Those of its training patients, which tell how well it learned them by heart, lie apart in
`trained_on`, for a learner of the same fold's patients and for nobody else. Vectors of two folds have nothing in common.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import LeakError, ModelError
from pipeline.folds import split_table
from pipeline.networks import recipe


def run(config: Config, subtype: str, candidate: str, fold: int) -> None:
    """Write the vectors of control and of `subtype` by the network of one fold.

    Raises:
        LeakError: the network was trained by another split than there is now.
        ModelError: its files do not make a network.
    """
    split, tables, cells = recipe.inputs(config, subtype)
    trained = paths.fold(subtype, candidate, fold)
    spec = made.values(trained / "spec.json")
    weights = paths.existing(trained / "model.weights.h5")
    if spec["inputs"].get("split") != files.sha256_of_all([paths.split_table(subtype)]):
        raise LeakError(f"{trained}: trained by another split than {paths.split_table(subtype)}; `dvc repro` trains it again")

    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.encoders import before_last, description, kept_network
    from pipeline.machine import device
    from pipeline.networks import model

    device.prepare("float32")
    device.whole_float32()
    try:
        network = model.build({**spec, "precision": "float32"})
        network.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{trained}: spec and weights do not make a network ({reason}); `dvc repro` trains it again") from None
    encoder = before_last.cut(network)
    roles = split_table.roles(split, fold, config.split.n_folds)
    settings = {
        "kind": "network",
        **{key: spec[key] for key in ("subtype", "candidate", "fold", "px", "training")},
        "weights_sha256": files.sha256(weights),
    }
    about = description.described(settings, before_last.dimension(encoder))
    target = paths.encoder(paths.of_network(subtype, candidate, fold)).parent
    with files.folder_in_one_step(target) as folder:
        (folder / paths.TRAINED_ON).mkdir()
        for name, table, pixels in zip((config.control, subtype), tables, cells, strict=True):
            seen = (table["patient"].map(roles) == "train").to_numpy()
            for place, rows in ((folder, np.flatnonzero(~seen)), (folder / paths.TRAINED_ON, np.flatnonzero(seen))):
                np.save(place / f"{name}.npy", before_last.vectors(encoder, (pixels[row] for row in rows)))
                table.iloc[rows][["patient", "path"]].to_parquet(place / f"{name}.parquet", index=False)
        kept = kept_network.save(encoder, folder)
        for place in (folder, folder / paths.TRAINED_ON):
            _describe(place, {**about, "weights_file_sha256": files.sha256(kept)})
    console.say(f"embed_networks: {target}: {sum(map(len, tables)):,} vectors of {about['dimension']:,} numbers")


def _describe(folder: Path, about: dict[str, object]) -> None:
    (folder / "encoder.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
