"""Write data/delivery.json: what the source holds, as one digest, on which `ingest` depends.

DVC cannot look into COHORT_DIR. This stage looks for it whenever `dvc repro` passes, and where the source is out of reach it
leaves the file as it is.
"""

from __future__ import annotations

from pipeline.cohort import delivery, source_digest
from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError


def run(config: Config) -> None:
    """Ask the source."""
    reason = delivery.out_of_reach(config)
    if not reason:
        source_digest.write_down(source_digest.ask(config))
    elif source_digest.last_asked(config):
        console.warn(f"{reason}; taken for unchanged, as {paths.DELIVERY} has it")
    else:
        raise ConfigError(reason)
