"""Name another version champion by hand, or go back to the one before: both are written down with their reason."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.common import console
from pipeline.common.errors import ModelError
from pipeline.registry import mlflow_server, versions


def run(subtype: str, version: str, because: str) -> None:
    """Make `version` of the subtype's model the champion.

    Raises:
        ModelError: there is no such version, or it is the champion already.
        TrackingError: MLflow does not answer, or nothing keeps other machines from deciding at the same time.
    """
    client = mlflow_server.connect()
    with mlflow_server.answering(), mlflow_server.alone():
        model = versions.version(client, subtype, version)
        if model is None:
            known = ", ".join(f"{other.version}" for other in versions.versions(client, subtype)) or "none"
            raise ModelError(f"{subtype}: MLflow has no version {version}; there are: {known}")
        if versions.ROLLED_BACK in model.tags:
            client.delete_model_version_tag(model.name, model.version, versions.ROLLED_BACK)
        _crown(client, model, "promoted by hand", because)


def rollback(subtype: str, because: str) -> None:
    """Make the version that the champion replaced champion again; the one that leaves is never promoted by the gate again.

    Raises:
        ModelError: there is no champion, or it replaced none that was not rolled back itself.
        TrackingError: as `run`.
    """
    client = mlflow_server.connect()
    with mlflow_server.answering(), mlflow_server.alone():
        champion = versions.champion(client, subtype)
        if champion is None:
            raise ModelError(f"{subtype}: there is no champion to go back from; see `python -m pipeline promote --help`")
        before = _before(client, champion)
        if before is None:
            raise ModelError(f"{subtype}: version {champion.version} replaced no other; name one: `python -m pipeline promote`")
        versions.note(client, champion, **{versions.ROLLED_BACK: because})
        _crown(client, before, f"rolled back by hand from version {champion.version}", because)


def _before(client: mlflow_server.Client, champion: versions.Version) -> versions.Version | None:
    """The nearest version in the line of champions that was not rolled back itself."""
    seen, version = {champion.version}, champion
    while before := versions.version(client, version.name, version.tags.get("replaced", "none")):
        if before.version in seen:
            return None
        if versions.ROLLED_BACK not in before.tags:
            return before
        seen.add(before.version)
        version = before
    return None


def _crown(client: mlflow_server.Client, model: versions.Version, how: str, because: str) -> None:
    champion = versions.champion(client, model.name)
    if champion is not None and champion.version == model.version:
        raise ModelError(f"{model.name}: version {model.version} is the champion already")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"verdict": f"{how}: {because} ({when})", versions.BY_HAND: because}
    versions.decide(client, model, versions.CHAMPION, about)
    instead = f" instead of version {champion.version}" if champion else ""
    console.say(f"{model.name}: version {model.version} is champion{instead}; {about['verdict']}")
