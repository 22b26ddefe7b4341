"""Whatever a library makes of an address, no part of its password is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra import accounts, to_postgres
from pipeline.common.errors import PipelineError
from pipeline.registry import mlflow_server
from pipeline.search import optuna_study

ODD = {  # every part of a password has qz in it
    "postgresql://me:qz/qz@qz:qz@localhost:1/db": "postgresql://***@localhost:1/db",
    "postgresql://me:qz@qz@localhost:1/db": "postgresql://***@localhost:1/db",
    "postgresql://me:qz qz@localhost:x/db": "postgresql://***@localhost:x/db",
    "http://me:qz/55@localhost:1": "http://***@localhost:1",
    "http://me:qz@qz/qz@localhost:1": "http://***@localhost:1",
    "me:qz@localhost:1": "***@localhost:1",
}


def _decide() -> None:
    with mlflow_server.deciding():
        pass


def _search() -> None:
    optuna_study.Study("x", 1, 1, 1)


@pytest.mark.parametrize(
    ("variable", "use", "address"),
    [
        *(("REGISTRY_LOCK", _decide, address) for address in ODD if address.startswith("postgresql")),
        *(("TUNE_STORAGE", _search, address) for address in ODD),
        *(("MLFLOW_TRACKING_URI", mlflow_server.connect, address) for address in ODD),
    ],
)
def test_by_the_pipeline(
    here: Path, monkeypatch: pytest.MonkeyPatch, variable: str, use: Callable[[], object], address: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(variable, address)
    with pytest.raises(PipelineError) as refused:
        use()
    assert ODD[address] in str(refused.value)
    assert "qz" not in str(refused.value)


@pytest.mark.parametrize("address", ODD)
def test_by_what_is_for_a_teams_servers(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    (here / "mlflow.db").touch()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: "another")
    code = to_postgres.main(["sqlite:///mlflow.db", address]) if "postgres" in address else accounts.main(["anna"])
    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "qz" not in said
