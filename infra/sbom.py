"""The bill of materials of requirements.lock as CycloneDX: every package with version, digests, licence and who needs it.

It follows from the lock and, for licences, from what is installed; nothing in it is dated, so the same lock has the same bill.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ENTRY = re.compile(r"^([A-Za-z0-9][^\n\\]*==[^\n\\]*?) *\\\n((?: {4}[^\n]*\n)*)", re.MULTILINE)


def write(lock: Path, licences: Mapping[str, str], name: str, target: Path) -> int:
    """Write the bill of a lock file, of the project `name`; the number of packages. `licences` has a package's own words."""
    text = lock.read_text()
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, text))
    root = Component(name=name, type=ComponentType.APPLICATION, bom_ref=name)
    bom.metadata.component = root
    versions: dict[str, list[Component]] = {}  # several where machines of another kind need another one
    needed_by: dict[str, set[str]] = {}
    for line, below in _ENTRY.findall(text):
        package: str = canonicalize_name(Requirement(line).name)
        component = _component(package, line, below, licences.get(package, ""))
        bom.components.add(component)
        versions.setdefault(package, []).append(component)
        needed_by.setdefault(package, set()).update(_needed_by(below))
    for package, others in needed_by.items():
        for other in (one for who in others for one in versions.get(who, [root])):
            bom.register_dependency(other, versions[package])
    made = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del made["metadata"]["timestamp"]
    target.write_text(json.dumps(made, indent=2) + "\n")
    return len(bom.components)


def _component(package: str, line: str, below: str, licence: str) -> Component:
    version = next(iter(Requirement(line).specifier)).version
    files = [
        HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in re.findall(r"--hash=sha256:([0-9a-f]{64})", below)
    ]
    at_pypi = XsUri(f"https://pypi.org/project/{package}/{version}/")
    return Component(
        name=package,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{package}=={version}",
        purl=PackageURL("pypi", None, package, version),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        external_references=[ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=at_pypi, hashes=files)],
    )


def _needed_by(below: str) -> list[str]:
    """The packages that uv's comments say need this one; a name that is none is the project."""
    said = re.findall(r"^ {4}#(?: via|  ) +(\S+)", below, re.MULTILINE)
    return [canonicalize_name(name) for name in said]
