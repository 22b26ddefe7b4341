"""Name another version champion by hand, or go back to the one before: both are written down with their reason."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline import console, registry, tracking
from pipeline.errors import ModelError


def run(subtype: str, version: str, because: str) -> None:
    """Make `version` of the subtype's model the champion.

    Raises:
        ModelError: there is no such version, or it is the champion already.
        TrackingError: MLflow does not answer, or nothing keeps other machines from deciding at the same time.
    """
    client = tracking.connect()
    with tracking.answering(), tracking.alone():
        model = registry.version(client, subtype, version)
        if model is None:
            known = ", ".join(f"{other.version}" for other in registry.versions(client, subtype)) or "none"
            raise ModelError(f"{subtype}: MLflow has no version {version}; there are: {known}")
        _crown(client, model, f"promoted by hand: {because}")


def rollback(subtype: str, because: str) -> None:
    """Make the version that the champion replaced champion again; the one that leaves is never promoted by the gate again.

    Raises:
        ModelError: there is no champion, or it replaced none.
        TrackingError: as `run`.
    """
    client = tracking.connect()
    with tracking.answering(), tracking.alone():
        champion = registry.champion(client, subtype)
        if champion is None:
            raise ModelError(f"{subtype}: there is no champion to go back from; see `python -m pipeline promote --help`")
        before = registry.version(client, subtype, champion.tags.get("replaced", "none"))
        if before is None:
            raise ModelError(f"{subtype}: version {champion.version} replaced no other; name one: `python -m pipeline promote`")
        registry.note(client, champion, rolled_back=because)
        _crown(client, before, f"rolled back by hand from version {champion.version}: {because}")


def _crown(client: tracking.Client, model: registry.Version, verdict: str) -> None:
    champion = registry.champion(client, model.name)
    if champion is not None and champion.version == model.version:
        raise ModelError(f"{model.name}: version {model.version} is the champion already")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    registry.decide(client, model, registry.CHAMPION, {"verdict": f"{verdict} ({when})"})
    instead = f" instead of version {champion.version}" if champion else ""
    console.say(f"{model.name}: version {model.version} is champion{instead}; {verdict}")
