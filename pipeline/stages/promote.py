"""Name another version champion by hand, or go back to the one before: both are written down with their reason."""

from __future__ import annotations

from datetime import datetime

from pipeline.common import console, paths
from pipeline.common.errors import ConfigError, ModelError
from pipeline.registry import agreement, bringing_back, decisions, mlflow_server, verdicts_page, versions


def run(subtype: str, version: str, because: str) -> None:
    """Make `version` of the subtype's model the champion.

    Raises:
        ModelError: there is no such version, or it is the champion already.
        ConfigError: no reason is given, or nothing keeps other machines from deciding at the same time.
        TrackingError: MLflow does not answer.
    """
    _require_reason(because)
    client = mlflow_server.connect()
    with mlflow_server.answering(), mlflow_server.alone():
        model = versions.version(client, subtype, version)
        if model is None:
            known = ", ".join(f"{other.version}" for other in versions.versions(client, subtype)) or "none"
            raise ModelError(f"{subtype}: MLflow has no version {version}; there are: {known}")
        cohort = _cohort(client, model)
        standing = agreement.reach(client, subtype, cohort, alone=True)
        champion = standing.champion
        if champion is not None and champion.version == model.version:
            raise ModelError(f"{subtype}: version {version} is the champion already")
        time, before = decisions.now(), champion or standing.absent
        decisions.append([agreement.line(client, model, cohort, "promoted by hand", because, time, before)])
        if versions.ROLLED_BACK in model.tags:
            client.delete_model_version_tag(model.name, model.version, versions.ROLLED_BACK)
        _crown(client, model, champion, "promoted by hand", because, time)
    decisions.tell()


def rollback(subtype: str, because: str) -> None:
    """Make the version that the champion replaced champion again; the one that leaves is never promoted by the gate again.

    Raises:
        ModelError: there is no champion, or it replaced none that was not rolled back itself.
        ConfigError, TrackingError: as `run`.
    """
    _require_reason(because)
    client = mlflow_server.connect()
    with mlflow_server.answering(), mlflow_server.alone():
        champion = versions.champion(client, subtype)
        if champion is not None:
            cohort = _cohort(client, champion)
            standing = agreement.reach(client, subtype, cohort, alone=True)
            champion = standing.champion
        if champion is None:
            raise ModelError(
                f"{subtype}: MLflow has no champion to go back from; `{bringing_back.register(subtype)}` says whether "
                f"{paths.DECISIONS} has one, `python -m pipeline promote` names one"
            )
        before = _before(client, champion, standing.history)
        if before is None:
            raise ModelError(f"{subtype}: version {champion.version} replaced no other; name one: `python -m pipeline promote`")
        time = decisions.now()
        leaves = agreement.line(client, champion, cohort, "rolled back", because, time, None)
        returns = agreement.line(client, before, _cohort(client, before), "champion again", because, time, champion)
        decisions.append([leaves, returns])
        versions.note(client, champion, **{versions.ROLLED_BACK: because})
        _crown(client, before, champion, f"rolled back by hand from version {champion.version}", because, time)
    decisions.tell()


def _require_reason(because: str) -> None:
    """Refuse a blank one, by which nobody could tell later, `register` included, that a person decided."""
    if not because.strip():
        raise ConfigError("--because: is blank; say why, it is written down with the version")


def _cohort(client: mlflow_server.Client, model: versions.Version) -> str:
    """On which data a version was trained."""
    cohort = versions.cohort(client, model)
    if cohort is None:
        raise ModelError(f"{model.name} v{model.version}: its files are gone from MLflow; bring them back, or name another")
    return cohort


def _before(client: mlflow_server.Client, champion: versions.Version, history: decisions.History) -> versions.Version | None:
    """The nearest version in the line of champions that was not rolled back itself."""
    seen, version = {champion.version}, champion
    while before := _replaced(client, version, history):
        if before.version in seen:
            return None
        if versions.ROLLED_BACK not in before.tags and not versions.digests(before) & set(history.rolled_back):
            return before
        seen.add(before.version)
        version = before
    return None


def _replaced(client: mlflow_server.Client, version: versions.Version, history: decisions.History) -> versions.Version | None:
    """The version that one replaced when it became champion, as the file says it, or else MLflow.

    Raises:
        ModelError: MLflow does not have it.
    """
    digest = next((history.replaced[digest] for digest in versions.digests(version) if digest in history.replaced), None)
    if digest is None:
        return versions.version(client, version.name, version.tags.get("replaced", "none"))
    found = versions.find(client, version.name, digest)
    if found is None:
        last = history.latest.get(digest)
        raise ModelError(
            f"{version.name}: version {version.version} replaced one that MLflow does not have: "
            f"{bringing_back.named(last, on_one_line=True) if last else digest}"
        )
    return found


def _crown(
    client: mlflow_server.Client,
    model: versions.Version,
    champion: versions.Version | None,
    how: str,
    because: str,
    time: datetime,
) -> None:
    about = {"verdict": f"{how}: {because} ({time.isoformat(timespec='seconds')})", versions.BY_HAND: because}
    versions.decide(client, model, versions.CHAMPION, about, time)
    instead = f" instead of version {champion.version}" if champion else ""
    console.say(f"{model.name}: version {model.version} is champion{instead}; {about['verdict']}")
    verdicts_page.write(client, model.name)
