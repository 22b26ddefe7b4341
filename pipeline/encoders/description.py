"""What vectors follow from, as encoder.json holds it and as one digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def described(settings: Mapping[str, Any], dimension: int) -> dict[str, Any]:
    """Whatever the encoder is called and wherever its file lies, with the digest of all that."""
    contents = {**settings, "dimension": dimension}
    return {**contents, "digest": digest(contents)}


def digest(contents: Mapping[str, Any]) -> str:
    """SHA-256 of what something follows from."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
