"""What the subtypes are in the words of haematology. A subtype that is not listed has no entry."""

from __future__ import annotations

from collections.abc import Iterable

# WHO classification of AML with recurrent genetic abnormalities; FAB: the morphological type it goes with.
NAMES: dict[str, dict[str, str]] = {
    "PML_RARA": {
        "WHO classification": "Acute promyelocytic leukaemia (APL) with PML::RARA",
        "Genetic change": "t(15;17)(q22;q12)",
        "FAB type": "M3",
    },
    "NPM1": {"WHO classification": "AML with mutated NPM1", "Genetic change": "mutation of the gene NPM1"},
    "CBFB_MYH11": {
        "WHO classification": "AML with CBFB::MYH11",
        "Genetic change": "inv(16)(p13q22) or t(16;16)(p13;q22); in the published cohort without NPM1 mutation",
        "FAB type": "M4eo",
    },
    "RUNX1_RUNX1T1": {
        "WHO classification": "AML with RUNX1::RUNX1T1",
        "Genetic change": "t(8;21)(q22;q22)",
        "FAB type": "M2",
    },
    "KMT2A_MLLT3": {
        "WHO classification": "AML with KMT2A::MLLT3",
        "Genetic change": "t(9;11)(p21.3;q23.3)",
        "FAB type": "M5, M4",
    },
}


def all_known(subtypes: Iterable[str]) -> bool:
    """Whether a page may speak of acute myeloid leukaemia; of another cohort it only knows what its classes are called."""
    return all(subtype in NAMES for subtype in subtypes)
