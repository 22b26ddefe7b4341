"""`python -m infra.accounts NAME`: a user of MLflow's server, made by its administrator.

Everybody with an account may read. `--writer` gives the role `writers`, who may write to all experiments and models: what a
team needs to continue each other's work. The server is MLFLOW_TRACKING_URI; the administrator MLFLOW_AUTH_ADMIN_USERNAME with
MLFLOW_AUTH_ADMIN_PASSWORD; the user's password is asked for on the terminal, or, with `--password-from-environment`, is
MLFLOW_TRACKING_PASSWORD, which on a workstation is the caller's own.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from typing import Any

from pipeline.common.addresses import first_line, without_account

_ROLE, _WORKSPACE = "writers", "default"
_WRITES_TO = ("experiment", "registered_model")


class AccountError(Exception):
    """The server refuses, or is not there; the message says what to do."""


def ensure(server: Any, name: str, password: str, writer: bool) -> str:
    """Make the user, or give an existing one this password; says what was done."""
    from mlflow.exceptions import MlflowException

    try:
        server.create_user(name, password)
        done = "made"
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        server.update_user_password(name, password)
        done = "was there, has this password from now on"
    if writer and _ROLE not in {role.name for role in server.list_user_roles(name)}:
        server.assign_role(name, _writers(server))
    return f"{done}{', writer' if writer else ''}"


def _writers(server: Any) -> int:
    """The id of the role `writers`, which is made if it is not there."""
    for role in server.list_roles(_WORKSPACE):
        if role.name == _ROLE:
            return int(role.id)
    role = server.create_role(_WORKSPACE, _ROLE, "write to all experiments and models")
    for kind in _WRITES_TO:
        server.add_role_permission(role.id, kind, "*", "MANAGE")
    return int(role.id)


def _connect() -> Any:
    """Connect to MLflow's server as its administrator, with the client that MLflow has for accounts."""
    address, password = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")
    if not address.startswith("http"):
        raise AccountError("MLFLOW_TRACKING_URI: name the server, for example http://127.0.0.1:5000")
    if not password:
        raise AccountError("MLFLOW_AUTH_ADMIN_PASSWORD is not set; it is in infra/secrets")
    os.environ["MLFLOW_TRACKING_USERNAME"] = os.environ.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = password
    from mlflow.server.auth.client import AuthServiceClient

    return AuthServiceClient(address)


def main(arguments: list[str] | None = None) -> int:
    """Make, change or remove a user; 2 when it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.accounts", description="A user of MLflow's server.")
    parser.add_argument("name")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--writer", action="store_true", help="may write to all experiments and models; else reads only")
    kind.add_argument("--remove", action="store_true", help="remove the user; what the user made stays")
    parser.add_argument("--password-from-environment", action="store_true", help="it is MLFLOW_TRACKING_PASSWORD")
    chosen = parser.parse_args(arguments)
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "") if chosen.password_from_environment else ""
    try:
        if chosen.password_from_environment and not password:
            raise AccountError("MLFLOW_TRACKING_PASSWORD is not set, and is to be the user's password")
        server = _connect()
        if chosen.remove:
            server.delete_user(chosen.name)
            done = "removed"
        else:
            password = password or getpass.getpass(f"password of {chosen.name}: ")
            done = ensure(server, chosen.name, password, chosen.writer)
    except AccountError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except Exception as error:  # MLflow raises its own and requests' errors here
        address = os.environ["MLFLOW_TRACKING_URI"]
        said = first_line(error, address).replace(password or "\0", "***")[:300]
        sys.stderr.write(f"error: {without_account(address)}: {said}\n")
        return 2
    sys.stdout.write(f"{chosen.name}: {done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
