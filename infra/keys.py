"""`make secrets`: a password for everything in compose.yaml, in files that only their owner can read; infra/.env; and folders.

What compose.yaml mounts has to be there before, or the container engine makes it, as root. Nothing that is there is changed, so
it can be run at any time; standard library only, so it needs no environment.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
_STATE = ("postgres", "store", "worker", "tls")
_TWINS = {
    "s3_credentials": ("store.env",),
    "store.env": ("s3_credentials",),
    "postgres_password": ("postgres.pgpass",),
    "postgres.pgpass": ("postgres_password",),
}


def contents() -> dict[str, str]:
    """File name -> content with new passwords, for each secret."""
    password = {name: secrets.token_urlsafe(24) for name in ("postgres", "mlflow", "prefect", "admin", "pipeline", "api")}
    access_key, secret_key = f"GK{secrets.token_hex(12)}", secrets.token_hex(32)  # the form that Garage asks for
    return {
        "postgres_password": password["postgres"],
        "postgres.pgpass": f"*:*:*:postgres:{password['postgres']}\n",
        "mlflow.pgpass": f"*:*:*:mlflow:{password['mlflow']}\n",
        "prefect.pgpass": f"*:*:*:prefect:{password['prefect']}\n",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password["admin"],
        "MLFLOW_TRACKING_PASSWORD": password["pipeline"],
        "PREFECT_API_AUTH_STRING": f"admin:{password['api']}",
        "s3_credentials": f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n",
        "store.env": (
            f"GARAGE_RPC_SECRET={secrets.token_hex(32)}\n"
            f"GARAGE_DEFAULT_ACCESS_KEY={access_key}\nGARAGE_DEFAULT_SECRET_KEY={secret_key}\n"
        ),
    }


def make(folder: Path) -> list[str]:
    """Write what is missing below `folder`: secrets/, .env and the folders that it names; the names of the new secrets.

    What belongs together (a password and its other form) is made anew together.
    """
    (folder / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    there = {path.name for path in (folder / "secrets").iterdir()}
    missing = {name: text for name, text in contents().items() if {name, *_TWINS.get(name, ())} - there}
    for name, text in missing.items():
        write_private(folder / "secrets" / name, text)
    if not (folder / ".env").exists():
        example = (HERE / "env.example").read_text()
        write_private(folder / ".env", example.replace("RUN_AS=1000:1000", f"RUN_AS={os.getuid()}:{os.getgid()}"))
    for path in _folders(folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return sorted(missing)


def _folders(folder: Path) -> list[Path]:
    """The folders that the containers mount: those that .env names, or compose.yaml's own where it names none."""
    named = dict(re.findall(r"""^(\w+)=["']?([^\s"'#]+)""", (folder / ".env").read_text(), re.MULTILINE))
    state = folder / named.get("STATE", "state")
    below = [state / name for name in _STATE]
    return [state, *below, folder / named.get("BACKUP", "backup"), folder / named.get("PSEUDONYMS", "state/pseudonyms")]


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read, not even while it is written."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def main() -> int:
    """Make secrets, settings and folders beside compose.yaml; 2 when it could not be done."""
    if os.getuid() == 0:
        sys.stderr.write("error: run this as the account that is to own the servers' data, not as root\n")
        return 2
    try:
        made = make(HERE)
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}; make it yourself, or name another in {HERE / '.env'}\n")
        return 2
    sys.stdout.write(f"{HERE / 'secrets'}: {', '.join(made) or 'all there'}\n{HERE / '.env'}: look at it, then start\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
