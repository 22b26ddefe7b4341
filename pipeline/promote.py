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
        if registry.ROLLED_BACK in model.tags:
            client.delete_model_version_tag(model.name, model.version, registry.ROLLED_BACK)
        _crown(client, model, "promoted by hand", because)


def rollback(subtype: str, because: str) -> None:
    """Make the version that the champion replaced champion again; the one that leaves is never promoted by the gate again.

    Raises:
        ModelError: there is no champion, or it replaced none that was not rolled back itself.
        TrackingError: as `run`.
    """
    client = tracking.connect()
    with tracking.answering(), tracking.alone():
        champion = registry.champion(client, subtype)
        if champion is None:
            raise ModelError(f"{subtype}: there is no champion to go back from; see `python -m pipeline promote --help`")
        before = _before(client, champion)
        if before is None:
            raise ModelError(f"{subtype}: version {champion.version} replaced no other; name one: `python -m pipeline promote`")
        registry.note(client, champion, **{registry.ROLLED_BACK: because})
        _crown(client, before, f"rolled back by hand from version {champion.version}", because)


def _before(client: tracking.Client, champion: registry.Version) -> registry.Version | None:
    """The nearest version in the line of champions that was not rolled back itself."""
    seen, version = {champion.version}, champion
    while before := registry.version(client, version.name, version.tags.get("replaced", "none")):
        if before.version in seen:
            return None
        if registry.ROLLED_BACK not in before.tags:
            return before
        seen.add(before.version)
        version = before
    return None


def _crown(client: tracking.Client, model: registry.Version, how: str, because: str) -> None:
    champion = registry.champion(client, model.name)
    if champion is not None and champion.version == model.version:
        raise ModelError(f"{model.name}: version {model.version} is the champion already")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"verdict": f"{how}: {because} ({when})", registry.BY_HAND: because}
    registry.decide(client, model, registry.CHAMPION, about)
    instead = f" instead of version {champion.version}" if champion else ""
    console.say(f"{model.name}: version {model.version} is champion{instead}; {about['verdict']}")
