"""MLflow's versions of a model, one a candidate (`registration` makes them), what is noted with them, the names they carry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.common import addresses, made
from pipeline.common.errors import ModelError
from pipeline.drift import summaries
from pipeline.registry import bringing_back, gate, mlflow_errors, mlflow_runs, model_card, model_files
from pipeline.registry.mlflow_client import Client

Version: TypeAlias = ModelVersion  # what the other modules call it

SCORES = "out_of_fold.csv"  # files with the run
PATIENTS = "training_patients.parquet"
CHAMPION, CHALLENGER = "champion", "challenger"
ROLLED_BACK, BY_HAND = "rolled_back", "by_hand"  # tags: why
ENCODER, ENCODER_DIGEST = "encoder", "encoder.digest"  # tags: by whose vectors a call answers, and what these follow from
FORMER = "candidate.former"  # tag: the digest before
GOES_ON_AS = "goes_on_as"  # tag of a version whose run or files are gone, or made twice: the number of the one in its place
_VERDICT = "\n### Verdict\n\n"
_DECIDED = "decided."  # and when: a tag for every verdict
_WRITERS = 10  # of one card, at the same moment


def find(client: Client, subtype: str, digest: str) -> ModelVersion | None:
    """The version that is this candidate, if it was registered before; under the digest of now, or one it had before.

    Of several that two machines made at the same moment it is the champion, else the first.
    """
    for tag in ("candidate", FORMER):
        found = client.search_model_versions(f"name = '{subtype}' AND tags.{tag} = '{digest}'")
        alive = sorted((model for model in found if GOES_ON_AS not in model.tags), key=lambda model: int(model.version))
        reigning = champion(client, subtype) if len(alive) > 1 else None
        for model in alive:
            if reigning is None or model.version == reigning.version:
                return model
        if alive:
            return alive[0]
    return None


def run_of(client: Client, model: ModelVersion) -> Run | None:
    """The run that a version came from, restored if it was deleted by hand; None if it was deleted for good (`mlflow gc`)."""
    try:
        return mlflow_runs.restored(client, client.get_run(run_id(model)))
    except MlflowException as error:
        if mlflow_errors.is_gone(error):
            return None
        raise


def champion(client: Client, subtype: str) -> ModelVersion | None:
    """The version that is champion now."""
    return called(client, subtype, CHAMPION)


def versions(client: Client, subtype: str) -> list[ModelVersion]:
    """All versions of the subtype's model, oldest first."""
    return sorted(client.search_model_versions(f"name = '{subtype}'"), key=lambda model: int(model.version))


def version(client: Client, subtype: str, number: str) -> ModelVersion | None:
    """One version of the subtype's model, if there is one of that number; of one that is lost, the one in its place."""
    found = next((model for model in versions(client, subtype) if str(model.version) == number), None)
    return version(client, subtype, found.tags[GOES_ON_AS]) if found and GOES_ON_AS in found.tags else found


def note(client: Client, model: ModelVersion, **tags: str) -> None:
    """Write tags on a version."""
    for key, value in tags.items():
        client.set_model_version_tag(model.name, model.version, key, value)


def called(client: Client, subtype: str, name: str) -> ModelVersion | None:
    """The version of a number, or the one that carries a name such as champion.

    Looked up by search: a server with accounts answers 403 to a question about the aliases of a model that is not there.
    """
    if name.isdecimal():
        return version(client, subtype, name)
    found = client.search_registered_models(f"name = '{subtype}'")
    number = found[0].aliases.get(name) if found else None
    return client.get_model_version(subtype, number) if number else None


def tried_elsewhere(client: Client, model: ModelVersion, cohort: str, line: str) -> None:
    """Write down with a version, and on its card, what it reached on another cohort; said again, the last counts."""
    note(client, model, **{model_card.elsewhere_tag(cohort): line})
    write_card(client, model)


def scores(client: Client, model: ModelVersion) -> pd.DataFrame:
    """The version's out-of-fold scores as `registration` stored them; empty where it has none."""
    if not has_scores(client, model):
        return pd.DataFrame(columns=gate.SCORES)
    with _kept(client, model, SCORES) as file:
        found = pd.read_csv(file, dtype={"patient": "str"})[gate.SCORES]
        if not np.isfinite(found[["fold", "label", "logit"]].to_numpy(np.float64)).all():
            raise ValueError("a score is no number")
    return found


def patients(client: Client, model: ModelVersion) -> pd.DataFrame:
    """The cohort behind the version as `registration` stored it; empty where a former release registered it."""
    run = run_of(client, model)
    if run is None or PATIENTS not in {file.path for file in client.list_artifacts(run.info.run_id)}:
        return summaries.table([])
    with _kept(client, model, PATIENTS) as file:
        found = made.parquet(Path(file))
        summaries.require_sound(found)
    return found


@contextmanager
def _kept(client: Client, model: ModelVersion, name: str) -> Iterator[str]:
    """A file that `registration` stored; whatever goes wrong with it within is its fault.

    Raises:
        ModelError: it is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = client.download_artifacts(run_id(model), name, folder)
        try:
            yield file
        except Exception as error:  # pandas and Arrow raise whatever their parsers stumble over
            if not mlflow_errors.is_of_what_was_asked(error):
                raise
            raise ModelError(
                f"{model.name} v{model.version}: {name} in MLflow is damaged ({addresses.first_line(error)}); run "
                f"`{bringing_back.register(model.name)}` where it was trained, which writes it anew"
            ) from None


def has_scores(client: Client, model: ModelVersion) -> bool:
    """Whether they are there; of a network whose search saw its test patients they are an empty table."""
    run = run_of(client, model)
    return run is not None and SCORES in {file.path for file in client.list_artifacts(run.info.run_id)}


def run_id(model: ModelVersion) -> str:
    """The run that a version came from, by MLflow's number.

    Raises:
        ModelError: it came from none.
    """
    if not model.run_id:
        raise ModelError(f"{model.name} v{model.version}: was made from no run, so not by `register`; leave it to who made it")
    return model.run_id


def judged(client: Client, model: ModelVersion) -> set[str]:
    """The digests of all candidates of the model's cohort that were judged, whichever of its patients were there then."""
    every = versions(client, model.name)  # MLflow's searches know no word with a quote in it, and a cohort's name may have one
    same = (other.tags for other in every if other.tags.get("cohort") == model.tags["cohort"])
    return {str(tags["candidate"]) for tags in same if "verdict" in tags}


def decide(client: Client, model: ModelVersion, alias: str, about: Mapping[str, Any], time: datetime) -> None:
    """Write down what became of a version and why, then name it so alone. To be called while `mlflow_server.deciding`.

    `about` is what led to it: `verdict`, a sentence, stands in the version's tags too, and with its time for good, unless the
    same was the last. The name comes last: whoever is killed before it has decided nothing.
    """
    note(client, model, **{key: str(about[key]) for key in ("verdict", "tried_before") if key in about})
    if why := about.get(BY_HAND):
        note(client, model, **{BY_HAND: str(why)})
    elif BY_HAND in model.tags:
        client.delete_model_version_tag(model.name, model.version, BY_HAND)
    last = max((tag for tag in model.tags if tag.startswith(_DECIDED)), default="")
    if model.tags.get(last) != about["verdict"] or alias not in aliases(client, model):
        note(client, model, **{f"{_DECIDED}{time:%Y%m%dT%H%M%S.%fZ}": str(about["verdict"])})
    if run := run_of(client, model):
        client.set_tag(run.info.run_id, "verdict", str(about["verdict"]))
        client.log_dict(run.info.run_id, dict(about), "verdict.json")
    write_card(client, model, verdict=str(about["verdict"]))
    if alias == CHAMPION:
        crown(client, model, time)
    else:
        client.set_registered_model_alias(model.name, alias, model.version)
    for other in {CHAMPION, CHALLENGER} & set(aliases(client, model)) - {alias}:
        client.delete_registered_model_alias(model.name, other)


def write_card(client: Client, model: ModelVersion, card: str = "", verdict: str = "") -> None:
    """The version's card, what it reached elsewhere by its tags and, where there is room, the verdict; what isn't given stays.

    Again, where somebody wrote on it meanwhile: MLflow takes the whole description, and the last counts.
    """
    for _ in range(_WRITERS):
        now = client.get_model_version(model.name, model.version)
        before, _, said = (now.description or "").partition(_VERDICT)
        said = f"{verdict}\n" if verdict else said
        alone = model_card.with_elsewhere(card or before, now.tags)
        whole = f"{alone}{_VERDICT}{said}" if said else alone
        text = whole if len(whole) <= model_card.LONGEST else alone
        if text == now.description:
            return
        client.update_model_version(model.name, model.version, text)


def crown(client: Client, model: ModelVersion, time: datetime) -> None:
    """Name a version champion; it remembers since when, and whom it replaced. To be called while `mlflow_server.deciding`."""
    before = champion(client, model.name)
    if before is None or before.version != model.version:
        note(client, model, champion_since=time.isoformat())
        if before is not None and ROLLED_BACK not in before.tags:  # one that was rolled back is nothing to go back to
            note(client, model, replaced=str(before.version))
        client.set_registered_model_alias(model.name, CHAMPION, model.version)


def discrown(client: Client, model: ModelVersion) -> None:
    """There is no champion any more. To be called while `mlflow_server.deciding`."""
    client.delete_registered_model_alias(model.name, CHAMPION)


def cohort(client: Client, model: ModelVersion) -> str | None:
    """The name of the data a version was trained on: from its settings, where an earlier release registered it.

    None where these are gone.
    """
    if known := model.tags.get("cohort"):
        return str(known)
    try:
        found = model_files.registered_cohort(client.get_model_version_download_uri(model.name, model.version))
    except (MlflowException, OSError) as error:
        if not mlflow_errors.is_of_what_was_asked(error):
            raise
        return None
    note(client, model, cohort=found)
    return found


def digests(model: ModelVersion) -> set[str]:
    """Under which a version is or was known as a candidate.

    Raises:
        ModelError: under none.
    """
    found = {str(model.tags[tag]) for tag in ("candidate", FORMER) if tag in model.tags}
    if not found:
        raise ModelError(
            f"{model.name} v{model.version}: was not made by `register`; leave it to who made it, and if it is called "
            f"{CHAMPION}, take that alias from it in MLflow's pages"
        )
    return found


def identity(model: ModelVersion) -> str:
    """What a version is told by, whichever MLflow holds it: the model's name and the candidate's digest."""
    return f"{model.name} {model.tags.get('candidate', '')[:16]}"


def registered_by(client: Client, model: ModelVersion) -> tuple[str, bool]:
    """The commit of the checkout that brought the version here (empty outside git), and whether it held changes."""
    run = run_of(client, model)
    tags = run.data.tags if run else {}
    return tags.get("git_commit", ""), tags.get("git_dirty") == "true"


def aliases(client: Client, model: ModelVersion) -> list[str]:
    """The names the version carries now."""
    return list(client.get_model_version(model.name, model.version).aliases)
