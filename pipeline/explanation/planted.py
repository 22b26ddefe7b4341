"""Where the cells of the demo lie, and the marks that were drawn into them: known, because they can be drawn again.

Of no other cohort is this known.
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.common.config import Config
from pipeline.demo import cohort
from pipeline.demo.cells import Place


def places(config: Config, paths: Collection[str]) -> dict[str, Place]:
    """By `paths` (class/patient/image) of cells in focus; empty of another cohort than the demo, and of patients renamed.

    The marks are those of leukaemic cells: of others they are empty, as nothing was planted there to be found.
    """
    if config.ingest.source != "demo":
        return {}
    demo, found = config.ingest.demo, {}
    wanted = {path.rpartition("/")[0] for path in paths}
    shares = (demo.diseased_share[0], demo.diseased_share[1]), (demo.unusable_share[0], demo.unusable_share[1])
    images = demo.images_per_patient[0], demo.images_per_patient[1]
    numbers = {name: demo.patients[name] for name in config.classes}
    for person in cohort.draw_patients(config.control, numbers, images, shares[0], demo.seed, shares[1]):
        folder = f"{person.class_name}/{person.patient}"
        if folder not in wanted:
            continue
        for cell in cohort.draw_cells(person, config.control, demo.seed):
            if cell.place and cell.kind in ("normal", "leukaemic"):
                planted = cell.place.marks & (cell.kind == "leukaemic")
                found[f"{folder}/{cell.image}"] = Place(cell.place.body, planted)
    return {path: found[path] for path in paths if path in found}
