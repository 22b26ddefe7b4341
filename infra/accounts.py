"""`python -m infra.accounts NAME`: a user of MLflow's server, made by its administrator.

The server is MLFLOW_TRACKING_URI; the administrator MLFLOW_AUTH_ADMIN_USERNAME with MLFLOW_AUTH_ADMIN_PASSWORD; the user's
password is MLFLOW_TRACKING_PASSWORD, else it is asked for on the terminal. A user who is there gets that password, too.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys

import requests

_PATIENCE_S = 30


class AccountError(Exception):
    """The server refuses, or is not there; the message says what to do."""


def ensure(server: str, admin: tuple[str, str], name: str, password: str) -> str:
    """Make the user, or give it the password; what was done.

    Raises:
        AccountError: why not.
    """
    there = _call("GET", server, "get", admin, {"username": name})
    if there.status_code == requests.codes.not_found:
        _must(_call("POST", server, "create", admin, {"username": name, "password": password}))
        return "made"
    _must(there)
    _must(_call("PATCH", server, "update-password", admin, {"username": name, "password": password}))
    return "there, with this password from now on"


def remove(server: str, admin: tuple[str, str], name: str) -> None:
    """The user may do nothing from now on; runs and models stay.

    Raises:
        AccountError: why not.
    """
    _must(_call("DELETE", server, "delete", admin, {"username": name}))


def _call(method: str, server: str, what: str, admin: tuple[str, str], fields: dict[str, str]) -> requests.Response:
    place = {"params": fields} if method == "GET" else {"json": fields}
    try:
        return requests.request(
            method, f"{server}/api/2.0/mlflow/users/{what}", auth=admin, timeout=_PATIENCE_S, **place  # type: ignore[arg-type]
        )
    except requests.RequestException as error:
        raise AccountError(f"MLFLOW_TRACKING_URI: {server} does not answer ({type(error).__name__}); start it") from None


def _must(answer: requests.Response) -> None:
    if answer.status_code == requests.codes.unauthorized:
        raise AccountError("MLFLOW_AUTH_ADMIN_PASSWORD: the server refuses it; give the administrator's present password")
    if not answer.ok:
        raise AccountError(f"MLflow refuses: {answer.text.strip()[:300]}")


def main(arguments: list[str] | None = None) -> int:
    """Make, change or remove a user; 2 when it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.accounts", description="A user of MLflow's server.")
    parser.add_argument("name")
    parser.add_argument("--remove", action="store_true", help="remove the user; what the user made stays")
    chosen = parser.parse_args(arguments)
    server, admin_password = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")
    try:
        if not server.startswith("http"):
            raise AccountError("MLFLOW_TRACKING_URI: name the server, for example http://127.0.0.1:5000")
        if not admin_password:
            raise AccountError("MLFLOW_AUTH_ADMIN_PASSWORD is not set; it is in infra/secrets")
        admin = (os.environ.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin", admin_password)
        if chosen.remove:
            remove(server, admin, chosen.name)
            done = "removed"
        else:
            password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or getpass.getpass(f"password of {chosen.name}: ")
            done = ensure(server, admin, chosen.name, password)
    except AccountError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{chosen.name}: {done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
