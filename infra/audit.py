"""`make audit`: what is known against the packages of requirements.lock, whether their licences are allowed, and a bill.

Vulnerabilities are pip-audit's business, which asks PyPI; a package that cannot be looked up is a failure, never silence.
Licences are read from what is installed, so run it in the environment of the lock, and held against licences.toml; those of
requirements-gpu.lock are not read. The bill of materials (`sbom`) is left in sbom.cdx.json.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra import sbom

HERE = Path(__file__).resolve().parent
LOCK, CUDA = HERE.parent / "requirements.lock", HERE / "requirements-gpu.lock"
BILL = HERE.parent / "sbom.cdx.json"


def licence(about: metadata.PackageMetadata) -> str:
    """What a package says of its licence: an SPDX expression or what comes nearest to it; "" if it is silent."""
    if "License-Expression" in about:
        return about["License-Expression"]
    classifiers = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    free = about["License"].strip() if "License" in about else ""
    named = [name for name in classifiers if name != "OSI Approved"]
    return " AND ".join(named) if named else free.splitlines()[0] if free else ""


def is_allowed(expression: str, allowed: Iterable[str]) -> bool:
    """Whether an SPDX expression of AND, OR and brackets comes out as allowed, given the licences that are."""
    known = set(allowed)

    def holds(part: str) -> bool:
        part = part.strip()
        while inner := re.search(r"\(([^()]* (?:AND|OR) [^()]*)\)", part):
            part = part.replace(inner.group(), _ALLOWED if holds(inner.group(1)) else _REFUSED)
        if " OR " in part:
            return any(map(holds, part.split(" OR ")))
        if " AND " in part:
            return all(map(holds, part.split(" AND ")))
        return part.strip() == _ALLOWED or part.strip() in known

    return bool(expression) and holds(expression)


_ALLOWED, _REFUSED = "<allowed>", "<refused>"


def locked(lock: Path) -> set[str]:
    """The names of all packages in a lock file."""
    return {canonicalize_name(line.name) for line in _lines(lock)}


def locked_here(lock: Path) -> set[str]:
    """The names of the packages in a lock file that this Python on this kind of machine needs."""
    return {canonicalize_name(line.name) for line in _lines(lock) if not line.marker or line.marker.evaluate()}


def _lines(lock: Path) -> list[Requirement]:
    return [Requirement(line) for line in re.findall(r"^([A-Za-z0-9][^\n\\]*==[^\n\\]*)", lock.read_text(), re.MULTILINE)]


def licences() -> tuple[dict[str, str], list[str]]:
    """Package -> licence, of the installed packages of requirements.lock; and a line for each not allowed, or missing."""
    table = tomllib.loads((HERE / "licences.toml").read_text())
    found: dict[str, str] = {}
    faults: list[str] = []
    names = locked(LOCK)
    for installed in metadata.distributions():
        name = canonicalize_name(installed.metadata["Name"])
        if name in names:
            found[name] = licence(installed.metadata)
            if not is_allowed(found[name], table["allowed"]) and name not in table["reviewed"]:
                said = found[name] or "nothing"
                faults.append(
                    f"{name}: says {said!r}; look at it, then allow or review it in infra/licences.toml, or do without"
                )
    absent = sorted(locked_here(LOCK) - found.keys())
    idle = sorted(set(table["reviewed"]) - names)
    return found, [
        *faults,
        *(f"{name}: in requirements.lock, but not installed, so its licence is unknown; run make first" for name in absent),
        *(f"{name}: reviewed in infra/licences.toml, but not in requirements.lock; take the line out" for name in idle),
    ]


def vulnerabilities(lock: Path) -> int:
    """Have pip-audit look up every package of a lock file, which prints what it finds; its exit status."""
    options = ["--strict", "--require-hashes", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    return subprocess.run([sys.executable, "-m", "pip_audit", *options, "--requirement", str(lock)], check=False).returncode


def main() -> int:
    """Write the bill; 0 when all licences are allowed and nothing is known against any package."""
    found, faults = licences()
    sys.stdout.write(f"licences: {len(found)} packages of {LOCK.name}, {len(faults)} not allowed\n")
    for fault in faults:
        sys.stderr.write(f"error: {fault}\n")
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["name"]
    sys.stdout.write(f"{BILL.name}: {sbom.write(LOCK, found, project, BILL)} packages\n")
    sys.stdout.flush()
    status = [vulnerabilities(lock) for lock in (LOCK, CUDA)]
    if any(status):
        sys.stderr.write("error: pip-audit found something, or could not look everything up; its words are above\n")
    return 1 if faults or any(status) else 0


if __name__ == "__main__":
    sys.exit(main())
