"""Where the stages' files are, relative to the repository's root, in which every command runs.

One function or constant a contract: nobody else spells a path.
"""

from pathlib import Path

from pipeline.common import dvc_leftovers
from pipeline.common.errors import DataError

RAW = Path("data/raw")
PATIENTS = Path("data/patients.csv")
NOT_COPIED = Path("data/not_copied.csv")
SOURCE = Path("data/source.json")
DELIVERY = Path("data/delivery.json")
TRUTH = Path("data/truth.parquet")
EXCLUDE = Path("data/exclude.csv")
REVIEW = Path("data/review.csv")
DECISIONS = Path("data/decisions.jsonl")
FOLDS = Path("data/folds.csv")
PROTOCOLS = Path("data/protocols")
MANIFEST = Path("data/manifest.parquet")
SPLITS = Path("data/splits")
PROTOCOL = SPLITS / "protocol.json"
CELLS = Path("data/cells")
CANDIDATES = Path("data/candidates")
VECTORS = Path("data/vectors")
SUSPICION = Path("data/suspicion")
WEIGHTS = Path("data/weights")
LEFT_OUT = WEIGHTS / "left_out.csv"
SCORED = Path("data/scored")
MODELS = Path("models")
REPORTS = Path("reports")
EVALUATED = Path("data/evaluated")
VALIDATION = REPORTS / "validation"
CURATION = REPORTS / "curation"
REPORT_PAGE = REPORTS / "index.html"
CHECKPOINTS = Path(".checkpoints")
DOWNLOADS = Path(".downloads")
KNOWN_CONTENTS = Path(".known_contents.json")
PREDICTIONS = Path("predictions")
EXTERNAL = Path("external")
NEW_PATIENTS = PREDICTIONS / "new_patients.parquet"
LOOKS = PREDICTIONS / "looks.jsonl"
SEARCHES = Path(".tune")
KEPT_VECTORS = Path(".vectors")
STUDIES = SEARCHES / "studies.db"
REQUIREMENTS = Path("requirements.lock")
WHY_NOT = "why_not.txt"  # in place of a call, where none can be made
TRAINED_ON = "trained_on"  # beside the vectors by a fold's network, those of its training patients


def existing(path: Path) -> Path:
    """`path` itself.

    Raises:
        DataError: an earlier stage has not made it yet.
    """
    if not path.is_file():
        raise DataError(f"{path}: not there; run `dvc repro`, or `dvc pull` where it was run before")
    return path


def fresh(path: Path) -> Path:
    """`path`, ready to be written: its folder is there, the old file is not.

    An old file may be a hard link into DVC's cache; written in place, it would change the cache.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    dvc_leftovers.remove_half_copies(path.parent)
    path.unlink(missing_ok=True)
    return path


def split_table(subtype: str) -> Path:
    """The table of a subtype's patients: patient, label, fold, images."""
    return SPLITS / f"{subtype}.csv"


def cells(class_name: str) -> Path:
    """The packed images of one class: uint8 `(images, px, px, 3)`."""
    return CELLS / f"{class_name}.npy"


def cell_rows(class_name: str) -> Path:
    """The table that says patient and path of each row of `cells(class_name)`."""
    return CELLS / f"{class_name}.parquet"


def vectors(encoder: str, class_name: str) -> Path:
    """The vectors of one class: float32 `(images, dimension)`."""
    return VECTORS / encoder / f"{class_name}.npy"


def vector_rows(encoder: str, class_name: str) -> Path:
    """The table that says patient and path of each row of `vectors(encoder, class_name)`."""
    return VECTORS / encoder / f"{class_name}.parquet"


def encoder(encoder: str) -> Path:
    """What the vectors of an encoder follow from."""
    return VECTORS / encoder / "encoder.json"


def of_network(subtype: str, candidate: str, k: int) -> str:
    """A fold's network as an encoder, by the name under which its vectors lie; no other encoder's holds a dash."""
    return f"{subtype}-{candidate}/fold-{k}"


def candidate(subtype: str, candidate: str) -> Path:
    """What params.yaml says of a candidate as it counts for one subtype."""
    return CANDIDATES / subtype / f"{candidate}.json"


def suspicion(subtype: str, candidate: str, k: int) -> Path:
    """How much the training images of a fold count by their look."""
    return SUSPICION / candidate / subtype / f"fold-{k}.csv"


def weights(subtype: str, candidate: str, k: int) -> Path:
    """The training images of a fold that count less than others."""
    return WEIGHTS / subtype / candidate / f"fold-{k}.csv"


def fold(subtype: str, candidate: str, k: int) -> Path:
    """Weights, spec, history and predictions of one training."""
    return MODELS / subtype / candidate / f"fold-{k}"


def scored(subtype: str, candidate: str) -> Path:
    """The images that figures are measured on, with their scores."""
    return SCORED / subtype / f"{candidate}.parquet"


def report(subtype: str, candidate: str) -> Path:
    """Metrics and plots of one candidate of a subtype."""
    return REPORTS / subtype / candidate


def evaluated(subtype: str, candidate: str) -> Path:
    """The digests of all files in `report(subtype, candidate)`."""
    return EVALUATED / subtype / f"{candidate}.json"


def verdicts(subtype: str) -> Path:
    """What the gate said of the candidates of a subtype; no output of DVC's, since MLflow decides it."""
    return REPORTS / subtype / "verdicts.html"


def audit(subtype: str, candidate: str) -> Path:
    """What else than morphology could explain the results of one candidate of a subtype."""
    return REPORTS / "audit" / subtype / f"{candidate}.json"


def other_classes(subtype: str, candidate: str) -> Path:
    """Whom the networks of one subtype call that, of all classes."""
    return REPORTS / "audit" / subtype / f"{candidate}_classes.csv"


def search(study: str) -> Path:
    """What a search has trained so far; git-ignored, nothing of it is a result."""
    return SEARCHES / study


def tuned(subtype: str) -> Path:
    """What the last search for one subtype found."""
    return REPORTS / "tune" / subtype


def transferred(subtype: str) -> Path:
    """What a subtype of few patients reaches by the networks of the others."""
    return REPORTS / "transfer" / subtype


def external(subtype: str, version: str, cohort: str) -> Path:
    """What a registered version is worth on another cohort; git-ignored, MLflow has it too."""
    return EXTERNAL / f"{subtype}-v{version}" / cohort


def audit_networks(subtype: str, candidate: str) -> Path:
    """What networks reach that were trained to be wrong in one thing."""
    return REPORTS / "audit" / subtype / f"{candidate}_networks.json"


def explained(subtype: str, candidate: str) -> Path:
    """Which cells and pixels carried the scores of one candidate of a subtype."""
    return REPORTS / "explained" / subtype / candidate


def called(candidate: str) -> Path:
    """What calls new patients one of all classes, by a candidate's vectors: a folder a fold."""
    return MODELS / "call" / candidate


def call_report(candidate: str) -> Path:
    """Everybody's call by a candidate's vectors, and how good they are."""
    return REPORTS / "call" / candidate
