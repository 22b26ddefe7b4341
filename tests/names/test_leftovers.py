"""Litter is known by its kind, and what stands for an image that is not there is no litter."""

from __future__ import annotations

import pytest
from delivery import FILES, FOLDERS, STAND_INS

from pipeline.names import image_paths, leftovers


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("place", ["{}", "{}/image_1.tif", "NPM1/{}/image_1.tif", "NPM1/ALW/{}/image_1.tif/deep.jpg"])
def test_a_folder_of_the_system_is_litter_with_all_in_it(folder: str, place: str) -> None:
    path = place.format(folder)
    assert leftovers.litter(path) not in ("", leftovers.HIDDEN)
    assert leftovers.litter(path.replace(folder, folder.upper()))
    assert not image_paths.is_image_name(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_system_is_litter(name: str) -> None:
    assert leftovers.litter(f"NPM1/ALW/{name}") not in ("", leftovers.HIDDEN)
    assert image_paths.name_fault(f"NPM1/ALW/{name}") == image_paths.LITTER_REASON
    assert leftovers.stand_in(name) is None


@pytest.mark.parametrize("name", STAND_INS)
def test_what_stands_for_an_image_says_which_and_why(name: str) -> None:
    path = f"NPM1/ALW/{name}"
    found = leftovers.stand_in(path)
    assert found
    assert found.image.lower() == "npm1/alw/image_3.tif"
    assert STAND_INS[name] in found.reason
    assert not leftovers.litter(path)
    assert image_paths.name_fault(path) == found.reason
    assert found.reason.startswith("image not there: ")
    assert not image_paths.is_image_name(path)


@pytest.mark.parametrize(
    "name", ["image_3.tif", "image_3.TIFF", "image.3.tif", "a.part.tif", "x.tif.tif", "P.tif 2.tif", "#1.tif"]
)
def test_an_image_is_an_image(name: str) -> None:
    path = f"NPM1/ALW/{name}"
    assert image_paths.is_image_name(path)
    assert not leftovers.litter(path)
    assert leftovers.stand_in(path) is None


@pytest.mark.parametrize(
    "name", ["notes.txt", "image_3.tif.aux.xml", "image_3.tif.20240131", "image_3.tif.bak", "image_3.tif.md5"]
)
def test_what_somebody_put_there_is_neither(name: str) -> None:
    assert not leftovers.litter(f"NPM1/ALW/{name}")
    assert leftovers.stand_in(f"NPM1/ALW/{name}") is None
    assert image_paths.name_fault(f"NPM1/ALW/{name}").startswith("not an image: its name does not end in ")


def test_what_is_hidden_is_litter_of_no_known_kind() -> None:
    assert leftovers.litter("NPM1/ALW/.unknown") == leftovers.litter("NPM1/.unknown/image_1.tif") == leftovers.HIDDEN
