"""MLflow and data/decisions.jsonl brought to say the same of who is champion. The later decision counts, wherever it stands.

What MLflow lost is made again from the file, as far as the version is there; what MLflow alone knows (another checkout decided
it, or it was decided before there was a file) is written down. All of it while `mlflow_server.deciding`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipeline.common import console, paths
from pipeline.registry import decisions, mlflow_server, versions
from pipeline.registry.decisions import Decision, History, Kind


@dataclass(frozen=True)
class Standing:
    """How a subtype's models stand once both agree."""

    champion: versions.Version | None
    absent: Decision | None  # the file names this one champion, and MLflow does not have it
    history: History


def reach(client: mlflow_server.Client, subtype: str, cohort: str, alone: bool) -> Standing:
    """Make both agree over the candidates of `cohort`; where nothing keeps others from deciding (`alone`), only look."""
    champion = versions.champion(client, subtype)
    if not alone:
        return Standing(champion, None, decisions.read(subtype, cohort))
    if champion is not None:
        champion = _agreed(client, champion, versions.cohort(client, champion) or cohort)
    history = decisions.read(subtype, cohort)
    if champion is None and (named := history.champion):
        champion = versions.find(client, subtype, named.digest)
        if champion is None:
            return Standing(None, named, history)
        _restore(client, champion, named)
        champion = client.get_model_version(subtype, champion.version)
    return Standing(champion, None, history)


def absent(client: mlflow_server.Client, subtype: str, cohort: str) -> Decision | None:
    """The champion of the file, where MLflow does not have it, or has lost the scores that others are held against."""
    named = decisions.read(subtype, cohort).champion
    if named is None:
        return None
    model = versions.find(client, subtype, named.digest)
    return named if model is None or not versions.has_scores(client, model) else None


def line(
    client: mlflow_server.Client,
    model: versions.Version,
    cohort: str,
    decision: Kind,
    reason: str,
    time: datetime,
    replaced: versions.Version | Decision | None,
    tried_before: int | None = None,
) -> Decision:
    """A decision over a version, as the file takes it."""
    versions.digests(model)  # it has one
    commit, dirty = versions.registered_by(client, model)
    tags = model.tags
    return Decision(
        time=time,
        subtype=model.name,
        cohort=cohort,
        candidate=tags.get("candidate.name", ""),
        decision=decision,
        reason=reason,
        tried_before=tried_before,
        digest=tags["candidate"],
        weights_sha256={key.removeprefix("sha256."): digest for key, digest in tags.items() if key.startswith("sha256.fold-")},
        patients_sha256=tags.get("patients", ""),
        results_md5=tags.get("results_md5", ""),
        commit=commit,
        dirty=dirty,
        replaced=replaced.digest if isinstance(replaced, Decision) else replaced.tags["candidate"] if replaced else None,
    )


def _agreed(client: mlflow_server.Client, champion: versions.Version, cohort: str) -> versions.Version | None:
    """MLflow's champion, written down where the file does not know it; None where the file has another.

    A later one counts that MLflow named while it had the file's champion too: it was better, or somebody wanted it so.
    """
    history = decisions.read(champion.name, cohort)
    named = history.champion
    if named is not None and named.digest in versions.digests(champion):
        if named.digest != champion.tags["candidate"]:  # it goes on under another
            decisions.append([line(client, champion, cohort, named.decision, named.reason, decisions.now(), None)])
        return champion
    since = _since(champion)
    knew = named is None or versions.find(client, champion.name, named.digest) is not None
    later = history.settled is None or (since is not None and since > history.settled)
    if knew and later and not versions.digests(champion) & set(history.rolled_back):
        _take_over(client, champion, cohort, since, history)
        return champion
    what = f"names {named.candidate} {named.digest[:8]}" if named else "has a later decision against it"
    console.say(f"{champion.name} v{champion.version}: not champion any more; {paths.DECISIONS} {what}")
    versions.discrown(client, champion)
    return None


def _since(champion: versions.Version) -> datetime | None:
    """Since when it is champion; None where somebody named it so in MLflow's own pages."""
    told = champion.tags.get("champion_since")
    return datetime.fromisoformat(told) if told else None


def _take_over(
    client: mlflow_server.Client, champion: versions.Version, cohort: str, since: datetime | None, history: History
) -> None:
    """Write down what MLflow knows of its champion and of those that were rolled back."""
    time = since or decisions.now()
    lines = [
        line(client, model, cohort, "rolled back", model.tags[versions.ROLLED_BACK], time, None)
        for model in versions.versions(client, champion.name)
        if versions.ROLLED_BACK in model.tags
        and not versions.digests(model) & set(history.latest)
        and versions.cohort(client, model) == cohort
    ]
    before = versions.version(client, champion.name, champion.tags.get("replaced", ""))
    by_hand = champion.tags.get(versions.BY_HAND)
    kind: Kind = "promoted by hand" if by_hand else "was champion in MLflow"
    reason = by_hand or champion.tags.get("verdict", "")
    decisions.append([*lines, line(client, champion, cohort, kind, reason, time, before)])
    console.say(f"{champion.name} v{champion.version}: is champion in MLflow; now {paths.DECISIONS} says so too")


def _restore(client: mlflow_server.Client, model: versions.Version, named: Decision) -> None:
    """Name a version champion again, with the reason and the time that the file has for it."""
    about = {"verdict": f"{named.decision}: {named.reason}"}
    if named.decision in decisions.BY_HAND:
        about[versions.BY_HAND] = named.reason
    if versions.ROLLED_BACK in model.tags:
        client.delete_model_version_tag(model.name, model.version, versions.ROLLED_BACK)
    versions.decide(client, model, versions.CHAMPION, about, named.time)
    console.say(f"{model.name} v{model.version}: champion in MLflow again, as {paths.DECISIONS} says")
