"""A vector an image: rows as packed, the same bytes whatever was made before, and vectors made elsewhere checked."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, write_params
from PIL import Image

from pipeline.common import config, files
from pipeline.common.errors import ConfigError, DataError
from pipeline.encoders import description, kept_network
from pipeline.images import decoding
from pipeline.stages import embed, pack

Settings = Callable[[dict[str, Any]], config.Config]
CLASSES = {"control": ["AAA", "BBB"], "NPM1": ["CCC", "DDD"]}
NAME = "efficientnet_lite0"
CHANGES = {"subtypes": ["NPM1"], "audit.networks": [], f"encoders.{NAME}.px": 32}
IMAGES = 12


def cohort(folder: Path, images: int = IMAGES, px: int = 40) -> None:
    """Of every patient `images`; the third is unusable."""
    rng = np.random.default_rng(0)
    rows = []
    for class_name, patients in CLASSES.items():
        for patient in patients:
            for n in range(images):
                path = f"{class_name}/{patient}/image_{n}.tif"
                target = folder / "data/raw" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (px, px, 3), dtype=np.uint8)).save(target)
                rows.append((path, class_name, patient, files.sha256(target), "too dark" if n == 2 else ""))
    pd.DataFrame(rows, columns=pd.Index(["path", "class", "patient", "sha256", "error"])).to_parquet(
        folder / "data/manifest.parquet"
    )


@pytest.fixture(autouse=True)
def here_with_a_cohort(here: Path) -> Path:
    (here / "data").mkdir()
    cohort(here)
    return here


def vectors(name: str = NAME) -> dict[str, np.ndarray]:
    return {class_name: np.load(f"data/vectors/{name}/{class_name}.npy", mmap_mode="r") for class_name in CLASSES}


def test_rows_are_those_of_the_packed_cells(params: Settings) -> None:
    settings = params(CHANGES)
    embed.run(settings, NAME)
    pack.run(settings)
    for class_name, made in vectors().items():
        assert (made.dtype, made.shape, made.flags.c_contiguous) == (np.float32, (2 * (IMAGES - 1), 1280), True)
        rows = pd.read_parquet(f"data/vectors/{NAME}/{class_name}.parquet")
        pd.testing.assert_frame_equal(rows, pd.read_parquet(f"data/cells/{class_name}.parquet"))
        assert len(np.unique(made, axis=0)) == len(made)


def made() -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Digests of what lies beside the vectors, and these."""
    beside = {name: digest for name, digest in files.sha256_below(Path("data/vectors")).items() if not name.endswith(".npy")}
    return beside, {class_name: np.array(own) for class_name, own in vectors().items()}


def assert_made_again(before: tuple[dict[str, str], dict[str, np.ndarray]]) -> None:
    """On some processors the last digits of a float32 depend on the place in a batch, a few units of some 1e-6."""
    now = made()
    assert now[0] == before[0]
    for class_name in CLASSES:
        np.testing.assert_allclose(now[1][class_name], before[1][class_name], rtol=0, atol=2e-5)


def test_an_image_has_the_same_vector_whatever_is_made_with_it(params: Settings) -> None:
    """All at once; then some, and later the rest: a new patient costs that patient's images."""
    settings, manifest = params(CHANGES), pd.read_parquet("data/manifest.parquet")
    embed.run(settings, NAME)
    together = made()
    for kept in Path(".vectors").rglob("*"):
        if kept.is_file():
            size_bytes = kept.stat().st_size
            kept.unlink()
    manifest[manifest["patient"] != "CCC"].to_parquet("data/manifest.parquet")
    embed.run(settings, NAME)
    (kept,) = (path for path in Path(".vectors").rglob("*") if path.is_file())
    assert kept.stat().st_size == size_bytes * 3 // 4
    before = kept.read_bytes()
    manifest.to_parquet("data/manifest.parquet")
    embed.run(settings, NAME)
    assert kept.read_bytes().startswith(before)
    assert kept.stat().st_size == size_bytes
    assert_made_again(together)


@pytest.mark.parametrize("damage", ["half a record", "a changed number"])
def test_what_a_lost_disk_left_is_made_again(params: Settings, damage: str) -> None:
    settings = params(CHANGES)
    embed.run(settings, NAME)
    sound = made()
    (kept,) = (path for path in Path(".vectors").rglob("*") if path.is_file())
    content = bytearray(kept.read_bytes())
    if damage == "half a record":
        content = content[:-2000]
    else:
        content[len(content) // 2 + 35] ^= 64  # of its first number, behind the digest of its image
    kept.write_bytes(content)
    embed.run(settings, NAME)
    assert_made_again(sound)


@pytest.mark.rehearsal
def test_killed_and_begun_again_the_bytes_are_the_same(here_with_a_cohort: Path) -> None:
    cohort(here_with_a_cohort, images=40)
    write_params(Path("params.yaml"), {**CHANGES, f"encoders.{NAME}.px": 160})
    code = (
        "from pipeline.common import config; from pipeline.stages import embed\n"
        f"embed._KEEP_EVERY_S = 0; embed.run(config.load(), '{NAME}')"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while not any(path.is_file() and path.stat().st_size for path in Path(".vectors").rglob("*")):
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not Path("data/vectors").exists() or not list(Path("data/vectors").glob("[!.]*"))
    went_on = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\b0 known", went_on)
    resumed = files.sha256_below(Path("data/vectors"))
    for kept in Path(".vectors").rglob("*"):
        if kept.is_file():
            kept.unlink()
    embed.run(config.load(), NAME)
    assert files.sha256_below(Path("data/vectors")) == resumed


def test_the_description_says_what_the_vectors_follow_from(params: Settings) -> None:
    digests = []
    for changes in ({}, {f"encoders.{NAME}.px": 48}):
        embed.run(params({**CHANGES, **changes}), NAME)
        said = json.loads(Path(f"data/vectors/{NAME}/encoder.json").read_text())
        assert said["weights_file_sha256"] == files.sha256(Path(f"data/vectors/{NAME}/encoder.weights.h5"))
        digests.append(said["digest"])
    assert len(set(digests)) == 2


def test_other_weights_than_those_named_are_refused(params: Settings) -> None:
    with pytest.raises(ConfigError, match=rf"encoders\.{NAME}\.weights_sha256: .*\.pth has [0-9a-f]+, not 0+; bring the file"):
        embed.run(params({**CHANGES, f"encoders.{NAME}.weights_sha256": "0" * 64}), NAME)
    assert not Path("data/vectors").exists()


def application(file: Path, name: str = "MobileNetV2", sha256: str = "") -> dict[str, Any]:
    settings = {"kind": "application", "application": name, "px": 32, "file": str(file)}
    return {**CHANGES, "encoders": {"own": {**settings, "weights_sha256": sha256 or files.sha256(file)}}}


def changes_without_px(changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if not key.startswith("encoders.")}


def test_a_keras_application_with_weights_of_ones_own(params: Settings) -> None:
    from pipeline.machine import device

    device.prepare("float32")
    import keras

    network = keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3))
    file = Path("own.weights.h5")
    network.save_weights(file)
    embed.run(params(changes_without_px(application(file))), "own")
    path = pd.read_parquet("data/vectors/own/control.parquet")["path"][0]
    pixels = np.asarray(Image.open(Path("data/raw") / path).resize((32, 32), Image.Resampling.BOX), dtype=np.float32)
    expected = np.asarray(network.predict_on_batch(pixels[None] / 127.5 - 1))[0]
    assert vectors("own")["control"][0] == pytest.approx(expected, abs=1e-5)
    served = kept_network.load(Path("data/vectors/own"), json.loads(Path("data/vectors/own/encoder.json").read_text()))
    box = decoding.resize(decoding.decode((Path("data/raw") / path).read_bytes()), 32)
    assert np.array_equal(served([box])[0], vectors("own")["control"][0]), "prepared as its own module has it"
    with pytest.raises(ConfigError, match=r"encoders\.own\.file: own\.weights\.h5 doesn't hold the weights of MobileNet"):
        embed.run(params(changes_without_px(application(file, "MobileNet"))), "own")
    with pytest.raises(ConfigError, match=r"encoders\.own\.application: no 'Nonsense' in keras\.applications"):
        embed.run(params(changes_without_px(application(file, "Nonsense"))), "own")
    with pytest.raises(ConfigError, match=r"encoders\.own: missing\.h5 is not there; put the weights' file there"):
        embed.run(params(changes_without_px(application(Path("missing.h5"), sha256="0" * 64))), "own")


def made_elsewhere(params: Settings, dimension: int = 8) -> config.Config:
    digest = description.digest(files.sha256_below(Path("brought")))
    settings = {"kind": "vectors", "folder": "brought", "dimension": dimension, "sha256": digest}
    return params({**changes_without_px(CHANGES), "encoders": {"brought": settings}})


@pytest.fixture
def brought() -> dict[str, np.ndarray]:
    """A file a patient: HDF5 of all images, of CCC Parquet of the usable ones by name and in another order."""
    rng = np.random.default_rng(1)
    made = {}
    for class_name, patients in CLASSES.items():
        Path("brought", class_name).mkdir(parents=True)
        for patient in patients:
            made[patient] = rng.normal(size=(IMAGES, 8)).astype(np.float32)
            with h5py.File(f"brought/{class_name}/{patient}.h5", "w") as file:
                file["features"] = made[patient]
    Path("brought/NPM1/CCC.h5").unlink()
    table = pd.DataFrame(made["CCC"], columns=pd.Index([f"v{n}" for n in range(8)]))
    table["path"] = [f"NPM1/CCC/image_{n}.tif" for n in range(IMAGES)]
    table.drop(index=2).iloc[::-1].to_parquet("brought/NPM1/CCC.parquet")
    return made


def test_vectors_made_elsewhere_become_rows_of_the_usable_images(
    params: Settings, brought: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    embed.run(made_elsewhere(params), "brought")
    assert capsys.readouterr().err == ""
    shutil.copy("brought/NPM1/DDD.h5", "brought/NPM1/EEE.h5")
    name("image_11.tif")  # without the folders
    embed.run(made_elsewhere(params), "brought")
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of the files below brought are of nobody who has usable images in data/manifest.parquet, first" in said
    for class_name, patients in CLASSES.items():
        expected = np.concatenate([np.delete(brought[patient], 2, axis=0) for patient in patients])
        assert np.array_equal(vectors("brought")[class_name], expected)


def shorten() -> None:
    with h5py.File("brought/NPM1/DDD.h5", "w") as file:
        file["features"] = np.zeros((IMAGES - 2, 8), np.float32)


def add_a_table() -> None:
    with h5py.File("brought/NPM1/DDD.h5", "a") as file:
        file["more"] = np.zeros((IMAGES, 8), np.float32)


def hold_nan() -> None:
    with h5py.File("brought/NPM1/DDD.h5", "a") as file:
        file["features"][0, 0] = np.nan


def hold_whole_numbers() -> None:
    with h5py.File("brought/NPM1/DDD.h5", "w") as file:
        file["features"] = np.zeros((IMAGES, 8), np.int32)


def be_too_large_for_float32() -> None:
    with h5py.File("brought/NPM1/DDD.h5", "w") as file:
        file["features"] = np.full((IMAGES, 8), 1e300)


def name(path: str | None) -> None:
    table = pd.read_parquet("brought/NPM1/CCC.parquet")
    table["path"] = [path, *table["path"][1:]]
    table.to_parquet("brought/NPM1/CCC.parquet")


def blur_a_name() -> None:
    name("image_\u00e9.tif")
    file = Path("brought/NPM1/CCC.parquet")
    file.write_bytes(file.read_bytes().replace("\u00e9".encode(), b"\xff\xff"))


def lack_a_number() -> None:
    table = pd.read_parquet("brought/NPM1/CCC.parquet").astype({"v3": "Float64"})
    table.iloc[1, 3] = pd.NA
    table.to_parquet("brought/NPM1/CCC.parquet")


def damage_its_table_of_contents() -> None:
    file = Path("brought/NPM1/DDD.h5")
    file.write_bytes(file.read_bytes().replace(b"SNOD", b"SNOX").replace(b"TREE", b"TREX"))


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "too few": (shorten, r"DDD\.h5: 10 vectors for the patient's 12 images of data/manifest\.parquet \(usable: 11\)"),
    "missing": (lambda: Path("brought/NPM1/DDD.h5").unlink(), r"patient DDD of NPM1: no brought/NPM1/DDD\.h5 \(or \.parquet\)"),
    "twice": (lambda: Path("brought/DDD.h5").write_bytes(b""), r"DDD\.h5 and brought/DDD\.h5 are both there; leave one"),
    "damaged": (lambda: Path("brought/NPM1/DDD.h5").write_bytes(b"no"), r"DDD\.h5: not a sound HDF5 file"),
    "damaged within": (damage_its_table_of_contents, r"DDD\.h5: not a sound HDF5 file: .+; bring it again"),
    "two tables": (add_a_table, r"DDD\.h5: 2 tables of numbers \(cells, dimension\), not one \(features, more\)"),
    "whole numbers": (hold_whole_numbers, r"DDD\.h5: 0 tables of numbers \(cells, dimension\), not one \(none of floats\)"),
    "too large": (be_too_large_for_float32, r"DDD\.h5: holds vectors that are no numbers"),
    "a gap": (lack_a_number, r"CCC\.parquet: holds vectors that are no numbers"),
    "of somebody else": (
        lambda: name("NPM1/DDD/image_11.tif"),
        r"CCC\.parquet: row 1 names 'NPM1/DDD/image_11\.tif', which is no image of the patient in data/manifest",
    ),
    "no text": (blur_a_name, r"CCC\.parquet: not a sound Parquet file: "),
    "of nothing": (lambda: name("image_99.tif"), r"CCC\.parquet: row 1 names 'image_99\.tif', which is no image"),
    "without a name": (lambda: name(None), r"CCC\.parquet: row 1 names '(nan|None)', which is no image of the patient"),
    "named twice": (lambda: name("NPM1/CCC/image_3.tif"), r"CCC\.parquet: names image_3\.tif twice; leave each once"),
    "no numbers": (hold_nan, r"DDD\.h5: holds vectors that are no numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_vectors_that_do_not_fit_are_refused(params: Settings, brought: dict[str, np.ndarray], fault: str) -> None:
    spoil, said = FAULTS[fault]
    spoil()
    with pytest.raises(DataError, match=said):
        embed.run(made_elsewhere(params), "brought")
    assert not list(Path("data/vectors").rglob("*"))


def test_where_patients_have_pseudonyms_no_name_of_a_file_that_is_nobodys_is_told(
    params: Settings, brought: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    def pseudonymous() -> config.Config:
        settings = made_elsewhere(params)
        return settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"pseudonyms": True})})

    Path("brought/NPM1/Miller.h5").write_bytes(b"")
    embed.run(pseudonymous(), "brought")
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of the files below brought are of nobody who has usable images" in said
    name("NPM1/Miller/image_11.tif")
    with pytest.raises(DataError, match=r"CCC\.parquet: row 1 names a file, which is no image of the patient") as caught:
        embed.run(pseudonymous(), "brought")
    assert "Miller" not in said + str(caught.value)


def test_vectors_of_another_size_or_others_than_pinned_are_refused(params: Settings, brought: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"vectors of 8 numbers, not 9"):
        embed.run(made_elsewhere(params, 9), "brought")
    settings = made_elsewhere(params)
    Path("brought").rename("moved")
    with pytest.raises(ConfigError, match=r"encoders\.brought\.folder: brought is not a folder; bring the vectors there"):
        embed.run(settings, "brought")
    Path("moved").rename("brought")
    Path("brought/more").write_text("")
    with pytest.raises(ConfigError, match=r"encoders\.brought\.sha256: the files below brought have [0-9a-f]+, not "):
        embed.run(settings, "brought")
