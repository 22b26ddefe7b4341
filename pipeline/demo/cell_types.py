"""What the cells of the synthetic cohort look like: a table of cell types, and the sources for it.

Each range is drawn from anew for every cell. Colours are the share of red, green and blue light let through (1: all of
it); lengths are micrometres, or shares of the cell's radius where a comment says so.

The sources say what a cell looks like. Sizes, contrasts and tones of the leukaemic ones were then chosen so that mean and
deviation of an image's colours differ little from healthy cells': form is to tell the classes apart. Real cells owe us no such
favour.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.demo.shapes import Range
from pipeline.demo.smear import Colour


@dataclass(frozen=True)
class Nucleus:
    """A chain of lobes joined by bridges; one lobe is a round nucleus, thick bridges make a band or a kidney."""

    lobes: tuple[int, int]
    lobe_radius: Range  # share of the cell's radius
    offset: Range = (0.0, 0.12)  # of the whole nucleus from the cell's centre, share of the radius
    spacing: Range = (1.5, 1.9)  # between neighbouring lobes, share of the lobe's radius
    bridge: Range = (0.12, 0.3)  # thickness, share of the lobe's radius
    turn: Range = (0.1, 0.7)  # tangent of half the angle by which the chain bends at each lobe
    wobble: float = 0.10  # of the outline, share of the cell's radius
    grain_um: float = 0.75  # size of a chromatin clump
    contrast: float = 0.6  # between clumps and the light between them
    crease: float = 0.0  # strength of folds across the nucleus
    cup: Range = (0.0, 0.0)  # depth of a cup-like hollow; 0: none


@dataclass(frozen=True)
class Granules:
    """Round grains in the cytoplasm, and over the nucleus where `over_nucleus` says so."""

    per_um2: Range
    radius_um: Range
    colour: Colour
    strength: Range = (0.4, 0.8)
    over_nucleus: float = 0.0


@dataclass(frozen=True)
class CellType:
    """What a kind of white cell looks like."""

    diameter_um: Range
    nucleus: Nucleus
    cytoplasm: Colour
    rim: Colour | None = None  # colour towards the cell's border where it differs
    hof: Range = (0.0, 0.0)  # strength of a pale zone beside the nucleus
    granules: tuple[Granules, ...] = ()
    auer_rods: tuple[int, int] = (0, 0)
    auer_length_um: Range = (2.0, 3.5)
    vacuoles: tuple[int, int] = (0, 0)
    outline: float = 0.10  # irregularity, share of the radius


# Normal cells: Bain, Blood Cells, 5th ed., ch. 2. Sizes in a smear, wider than in the textbook as smears differ.
_NEUTROPHIL_GRANULES = Granules((0.9, 2.0), (0.14, 0.22), (0.60, 0.34, 0.55), (0.25, 0.75))
_AZUROPHIL_DUST = Granules((0.2, 0.6), (0.14, 0.2), (0.58, 0.28, 0.52), (0.3, 0.6))

CELL_TYPES: dict[str, CellType] = {
    "segmented_neutrophil": CellType(
        (11.2, 14.6),
        Nucleus((2, 5), (0.40, 0.48), (0.0, 0.12), (1.6, 2.2), (0.15, 0.35), (0.25, 0.9), 0.09, 0.6),
        (0.86, 0.77, 0.86),
        granules=(_NEUTROPHIL_GRANULES,),
    ),
    "band_neutrophil": CellType(
        (11.7, 15.1),
        Nucleus((4, 5), (0.40, 0.47), (0.0, 0.1), (0.9, 1.3), (0.75, 0.95), (0.25, 0.5), 0.07, 0.6),
        (0.86, 0.77, 0.86),
        granules=(_NEUTROPHIL_GRANULES,),
    ),
    "lymphocyte": CellType(
        (7.8, 13.2),
        Nucleus((1, 1), (0.74, 0.92), (0.02, 0.12), wobble=0.12, grain_um=0.75, contrast=0.5),
        (0.66, 0.70, 0.88),
        rim=(0.54, 0.60, 0.83),
        granules=(Granules((0.0, 0.12), (0.2, 0.3), (0.55, 0.2, 0.5)),),
    ),
    "monocyte": CellType(
        (13.2, 17.6),
        Nucleus((2, 3), (0.52, 0.64), (0.0, 0.18), (0.6, 1.0), (0.8, 1.0), (0.2, 0.7), 0.16, 0.6, 0.5, 0.25),
        (0.68, 0.68, 0.82),
        granules=(Granules((0.5, 1.3), (0.13, 0.2), (0.58, 0.4, 0.66), (0.2, 0.5)),),
        vacuoles=(0, 7),
        outline=0.17,
    ),
    "eosinophil": CellType(
        (11.7, 15.1),
        Nucleus((2, 3), (0.45, 0.52), (0.05, 0.25), (1.6, 2.0), (0.2, 0.5), (0.3, 0.9), 0.07),
        (0.86, 0.72, 0.78),
        granules=(Granules((2.5, 4.0), (0.32, 0.46), (0.86, 0.52, 0.48), (0.5, 0.9)),),
    ),
    "basophil": CellType(
        (10.5, 13.5),
        Nucleus((2, 3), (0.42, 0.52), (0.0, 0.1), (0.9, 1.3), (0.6, 0.9)),
        (0.80, 0.70, 0.86),
        granules=(Granules((0.9, 1.6), (0.4, 0.6), (0.24, 0.12, 0.42), (0.7, 0.95), 0.7),),
    ),
    # What a healthy smear holds now and then and a leukaemic cell is mistaken for (Bain, ch. 3): a lymphocyte busy with a
    # virus, large with a blue border and open chromatin; a granulocyte too young for the blood, with coarse granules.
    "reactive_lymphocyte": CellType(
        (11.5, 16.0),
        Nucleus((1, 1), (0.62, 0.78), (0.05, 0.2), wobble=0.14, grain_um=0.55, contrast=0.55),
        (0.70, 0.73, 0.88),
        rim=(0.56, 0.62, 0.84),
        outline=0.15,
    ),
    "normal_promyelocyte": CellType(
        (12.5, 16.0),
        Nucleus((1, 1), (0.64, 0.74), (0.1, 0.25), wobble=0.09, grain_um=0.6, contrast=0.55),
        (0.78, 0.76, 0.87),
        hof=(0.2, 0.5),
        granules=(Granules((0.6, 1.2), (0.26, 0.38), (0.52, 0.34, 0.56), (0.4, 0.8), 0.3),),
    ),
    # PML::RARA, FAB M3: hypergranular promyelocytes, kidney-shaped or bilobed nuclei, bundles of Auer rods ("faggot
    # cells"). WHO Classification of Tumours of Haematopoietic and Lymphoid Tissues, rev. 4th ed. 2017, AML with
    # recurrent genetic abnormalities; the same chapter for the other three subtypes.
    "promyelocyte": CellType(
        (11.2, 15.8),
        Nucleus((2, 2), (0.46, 0.55), (0.02, 0.2), (1.3, 1.8), (0.35, 0.7), (0.2, 0.7), 0.12, 0.6, 0.55),
        (0.87, 0.85, 0.91),
        rim=(0.78, 0.82, 0.91),
        granules=(Granules((0.9, 1.7), (0.32, 0.48), (0.48, 0.37, 0.58), (0.5, 0.9), 0.4),),
        auer_rods=(0, 1),
        outline=0.15,
    ),
    "faggot_cell": CellType(
        (11.6, 15.8),
        Nucleus((2, 2), (0.45, 0.53), (0.1, 0.28), (1.2, 1.7), (0.35, 0.7), (0.2, 0.7), 0.12, 0.6, 0.55),
        (0.86, 0.85, 0.91),
        rim=(0.77, 0.82, 0.91),
        granules=(Granules((0.5, 1.4), (0.26, 0.38), (0.48, 0.39, 0.58), (0.4, 0.8), 0.3),),
        auer_rods=(5, 12),
        auer_length_um=(2.5, 4.5),
        outline=0.15,
    ),
    # NPM1: cup-like nuclei, the hollow at least a quarter of the nucleus wide, fine chromatin, little cytoplasm.
    "cup_blast": CellType(
        (10.4, 14.6),
        Nucleus((1, 1), (0.74, 0.84), (0.02, 0.1), wobble=0.10, grain_um=0.45, contrast=0.55, cup=(0.75, 0.97)),
        (0.68, 0.71, 0.87),
    ),
    "blast": CellType(
        (10.2, 14.4),
        Nucleus((1, 1), (0.70, 0.80), (0.03, 0.14), wobble=0.14, grain_um=0.45, contrast=0.6),
        (0.68, 0.70, 0.87),
        rim=(0.58, 0.63, 0.84),
    ),
    # CBFB::MYH11, FAB M4eo: monocytic cells, and eosinophils with large purple-black granules among the orange ones.
    "monocytic_blast": CellType(
        (11.2, 15.4),
        Nucleus((3, 4), (0.46, 0.57), (0.0, 0.14), (0.7, 1.15), (0.7, 1.0), (0.5, 1.2), 0.17, 0.5, 0.65, 1.0),
        (0.69, 0.70, 0.81),
        granules=(_AZUROPHIL_DUST,),
        outline=0.17,
    ),
    "abnormal_eosinophil": CellType(
        (11.2, 15.0),
        Nucleus((1, 2), (0.46, 0.54), (0.15, 0.32), (0.9, 1.4), (0.6, 0.9), contrast=0.7),
        (0.86, 0.74, 0.80),
        granules=(
            Granules((0.7, 1.6), (0.32, 0.46), (0.88, 0.62, 0.59), (0.4, 0.8)),
            Granules((0.15, 0.5), (0.4, 0.7), (0.44, 0.26, 0.50), (0.7, 0.95), 0.4),
        ),
    ),
    # RUNX1::RUNX1T1, FAB M2: large blasts, blue rim, perinuclear hof, long thin Auer rods; maturing cells with pink
    # cytoplasm.
    "hof_blast": CellType(
        (12.2, 16.8),
        Nucleus((2, 2), (0.60, 0.70), (0.16, 0.32), (0.25, 0.55), (0.9, 1.0), (0.1, 0.4), 0.12, 0.5, 0.42),
        (0.82, 0.70, 0.84),
        rim=(0.60, 0.64, 0.85),
        hof=(0.5, 0.95),
        granules=(_AZUROPHIL_DUST,),
        auer_rods=(0, 1),
        auer_length_um=(3.5, 5.5),
    ),
    "maturing_granulocyte": CellType(
        (12.8, 16.8),
        Nucleus((1, 2), (0.48, 0.58), (0.15, 0.35), (1.0, 1.6), (0.3, 0.8), (0.1, 0.5)),
        (0.90, 0.70, 0.76),
        rim=(0.64, 0.66, 0.88),
        hof=(0.2, 0.6),
        granules=(Granules((1.0, 2.2), (0.16, 0.26), (0.78, 0.40, 0.52), (0.3, 0.7)),),
        auer_rods=(0, 1),
        auer_length_um=(3.5, 5.5),
    ),
    # KMT2A::MLLT3, FAB M5a: monoblasts, large, with a round nucleus of lacy chromatin, much greyish-blue cytoplasm and vacuoles
    # (WHO 2017, the same chapter; Bain, ch. 9). Drawn on demand alone.
    "monoblast": CellType(
        (13.0, 17.4),
        Nucleus((1, 1), (0.56, 0.68), (0.04, 0.2), wobble=0.13, grain_um=0.4, contrast=0.5, crease=0.35),
        (0.70, 0.71, 0.83),
        granules=(_AZUROPHIL_DUST,),
        vacuoles=(1, 6),
        outline=0.2,
    ),
}
