"""Two processes say the same to one MLflow at the same moment: neither is refused, and it stands there once; broken answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Param
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from sqlalchemy import event
from sqlalchemy.orm import Session

from pipeline.registry import mlflow_errors, mlflow_server, versions
from pipeline.registry.mlflow_client import Client


@contextmanager
def coming_first(*others: Callable[[], Any]) -> Iterator[None]:
    """Between MLflow's look and what it writes then, for the database's every refusal one of these is quicker."""
    waiting, busy = list(others), list[str]()

    def between(session: Session, *_: Any) -> None:
        if session.new and waiting and not busy:
            busy.append("another process")
            waiting.pop(0)()
            busy.clear()

    event.listen(Session, "before_flush", between)
    try:
        yield
    finally:
        event.remove(Session, "before_flush", between)
    assert not waiting


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("at_once")
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield mlflow_server.connect()


@pytest.fixture(scope="module")
def experiment(client: Client) -> str:
    client.create_registered_model("NPM1")
    client.create_model_version("NPM1", "somewhere")
    return str(client.create_experiment("NPM1"))


@pytest.fixture
def run(client: Client, experiment: str) -> str:
    return str(client.create_run(experiment).info.run_id)


def data(*names: str) -> list[DatasetInput]:
    return [DatasetInput(Dataset(name, "0123", "dvc", "{}")) for name in names]


SAID: dict[str, Callable[[Client, str, str], Any]] = {
    "parameters": lambda client, _, run: client.log_batch(run, params=[Param("px", "48"), Param("seed", "1")]),
    "data": lambda client, _, run: client.log_inputs(run, data("cells", "split")),
    "a run's tag": lambda client, _, run: client.set_tag(run, "kept_epoch", "3"),
    "an experiment's tag": lambda client, experiment, _: client.set_experiment_tag(experiment, "mlflow.note.content", "of"),
    "a version's tag": lambda client, *_: client.set_model_version_tag("NPM1", "1", "patients", "of all"),
    "a version's name": lambda client, *_: client.set_registered_model_alias("NPM1", "challenger", "1"),
}


@pytest.mark.parametrize("what", SAID)
def test_who_comes_second_is_not_refused(client: Client, experiment: str, run: str, what: str) -> None:
    say = SAID[what]
    with coming_first(lambda: say(client, experiment, run)):
        say(client, experiment, run)
    found = client.get_run(run)
    version = client.get_model_version("NPM1", "1")
    told = {
        "parameters": found.data.params,
        "data": sorted(one.dataset.name for one in found.inputs.dataset_inputs),
        "a run's tag": found.data.tags.get("kept_epoch"),
        "an experiment's tag": client.get_experiment(experiment).tags.get("mlflow.note.content"),
        "a version's tag": version.tags.get("patients"),
        "a version's name": version.aliases,
    }
    assert told[what] == {
        "parameters": {"px": "48", "seed": "1"},
        "data": ["cells", "split"],
        "a run's tag": "3",
        "an experiment's tag": "of",
        "a version's tag": "of all",
        "a version's name": ["challenger"],
    }[what]  # fmt: skip


def test_two_who_come_first_one_after_the_other_are_no_fault_either(client: Client, experiment: str, run: str) -> None:
    """As where a network and a learner on vectors begin together: they share the split alone."""
    others = [client.create_run(experiment).info.run_id for _ in range(2)]
    with coming_first(
        lambda: client.log_inputs(others[0], data("vectors of two", "split of two")),
        lambda: client.log_inputs(others[1], data("cells of two", "split of two")),
    ):
        client.log_inputs(run, data("cells of two", "split of two"))
    named = sorted(one.dataset.name for one in client.get_run(run).inputs.dataset_inputs)
    assert named == ["cells of two", "split of two"]


def test_what_postgresql_refuses_is_said_again_also_through_a_server(
    client: Client, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses metrics too, which others may write while MLflow looks which of its own are there."""
    words = MlflowException("(psycopg2.errors.UniqueViolation) duplicate key value", BAD_REQUEST)
    for refusal in (words, RestException(json.loads(words.serialize_as_json()))):
        say, refused = MlflowClient.log_metric, [refusal]

        def too_late(self: MlflowClient, *told: Any, say: Any = say, refused: list[MlflowException] = refused) -> Any:
            if refused:
                raise refused.pop()
            return say(self, *told)

        with monkeypatch.context() as second:
            second.setattr(MlflowClient, "log_metric", too_late)
            client.log_metric(run, "kept_val_loss", 0.5, 7, 0)
    assert [(point.value, point.timestamp) for point in client.get_metric_history(run, "kept_val_loss")] == [(0.5, 7)]


def test_an_experiment_that_another_just_took_out_of_the_bin_is_out(client: Client) -> None:
    name = client.create_experiment("FLT3")
    client.delete_experiment(name)
    client.restore_experiment(name)
    client.restore_experiment(name)
    assert client.get_experiment(name).lifecycle_stage == "active"
    with pytest.raises(MlflowException, match="No Experiment"):
        client.restore_experiment("12345")


def test_a_parameter_that_is_there_with_another_value_is_refused_at_once(client: Client, run: str) -> None:
    client.log_batch(run, params=[Param("px", "48")])
    with pytest.raises(MlflowException, match="not allowed"):
        client.log_batch(run, params=[Param("px", "96")])


def test_what_two_write_on_one_card_at_the_same_moment_stands_there(
    client: Client, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, write, others = client.get_model_version("NPM1", "1"), Client.update_model_version, ["of Berlin", "of Paris"]

    def too_late(self: Client, *told: Any) -> Any:
        if others:
            other = others.pop()
            versions.tried_elsewhere(self, model, other, f"what was reached on those {other}")
        return write(self, *told)

    monkeypatch.setattr(Client, "update_model_version", too_late)
    versions.write_card(client, model, "a card\n", "champion: the first")
    versions.write_card(client, model, "another card\n")
    card = client.get_model_version("NPM1", "1").description
    assert card.startswith("another card\n")
    assert "- of Berlin: what was reached on those of Berlin\n- of Paris: what was reached on those of Paris\n" in card
    assert card.endswith("\n### Verdict\n\nchampion: the first\n")


def test_an_answer_that_breaks_off_in_its_head_is_no_answer_that_finds_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            asked, _ = listening.accept()
            with asked:
                asked.recv(65536)
                asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/js")

        answering = threading.Thread(target=answer)
        answering.start()
        client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(requests.ConnectionError, match="experiments/search broke off") as told:
            client.search_experiments()
        answering.join()
    assert mlflow_errors.went_away(told.value)
