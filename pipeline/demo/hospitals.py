"""Where a smear was made: the demo's own hospital, and another with its own scanner, staining and controls.

The other's images are softer, bluer and grainier, its field of view is 4 % smaller than it says, and its controls are no
healthy donors: they are as old as the patients, and have more of the cells that a blast is mistaken for. What a leukaemia looks
like is the same in both, so whatever a model does worse there is due to these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.demo.smear import Stain

# Parts per cell type. Home: a differential count, with more lymphocytes and monocytes than average because those are the cells
# a blast is mistaken for. Other: of patients who are in hospital for something else, infections for the most part.
_HOME_CELLS = {
    "segmented_neutrophil": 38,
    "band_neutrophil": 8,
    "lymphocyte": 28,
    "monocyte": 19,
    "eosinophil": 5,
    "basophil": 2,
    "reactive_lymphocyte": 4,
    "normal_promyelocyte": 1,
}
_OTHER_CELLS = _HOME_CELLS | {"band_neutrophil": 14, "monocyte": 26, "reactive_lymphocyte": 14, "normal_promyelocyte": 3}


@dataclass(frozen=True)
class Hospital:
    """How its smears, images and controls differ from those drawn without it; 1 and 0 where they don't."""

    name: str
    normal_cells: Mapping[str, int]
    control_people: tuple[float, int, float]  # share of men, median age, spread in years
    blurs: float = 0.0  # over 3 x 3 px, more than the focus misses
    grain: float = 1.0  # of the sensor
    magnification: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of the light
    chromatin: tuple[float, float, float] = (0.0, 0.0, 0.0)  # added to its colour
    stain: float = 1.0  # strength of all stains

    def smear(self, stain: Stain) -> Stain:
        """A patient's smear as it is made and photographed here."""
        red, green, blue = (level * tint for level, tint in zip(stain.background, self.tint, strict=True))
        darker, lighter, other = (min(1.0, max(0.02, a + b)) for a, b in zip(stain.chromatin, self.chromatin, strict=True))
        return replace(
            stain,
            background=(red, green, blue),
            chromatin=(darker, lighter, other),
            cytoplasm=stain.cytoplasm * self.stain,
            eosin=stain.eosin * self.stain,
            granules=stain.granules * self.stain,
            size=stain.size * self.magnification,
            blurs=self.blurs,
            grain=self.grain,
        )


# The published cohort's controls are 87 % male with a median of 35 years, its patients' median is about 55
# (Hehr et al. 2023, doi 10.1371/journal.pdig.0000187).
HOME = Hospital("home", _HOME_CELLS, (0.87, 35, 18.0))
OTHER = Hospital(
    "other",
    _OTHER_CELLS,
    (0.5, 55, 28.0),
    blurs=1.5,
    grain=1.6,
    magnification=1.04,
    tint=(0.95, 0.98, 1.03),
    chromatin=(-0.03, 0.03, 0.05),
    stain=0.85,
)
HOSPITALS = {hospital.name: hospital for hospital in (HOME, OTHER)}
