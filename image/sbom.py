"""The software bill of materials: every Debian package and Python distribution in the image."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote


def write(root: Path, site: Path, out: Path, *, version: str) -> None:
    """Write CycloneDX 1.6 JSON (https://cyclonedx.org/docs/1.6/json/).

    The same root gives the same document: its serial number is made of its content, its time is
    ``SOURCE_DATE_EPOCH`` where the builder sets that.
    """
    components = [*debian_components(root), *python_components(site)]
    content = "\n".join([version, *(entry["purl"] for entry in components)])
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    when = datetime.datetime.fromtimestamp(float(epoch) if epoch else time.time(), tz=datetime.UTC)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": f"{when:%Y-%m-%dT%H:%M:%SZ}",
            "component": {
                "type": "operating-system",
                "bom-ref": "edgeinspect",
                "name": "edgeinspect",
                "version": version,
            },
        },
        "components": components,
    }
    out.write_text(json.dumps(document, indent=1) + "\n")


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def debian_components(root: Path) -> list[dict[str, Any]]:
    """From dpkg's status file: name, version and architecture of every installed package."""
    components = []
    for block in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " "
        )
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            where = f"arch={fields['Architecture']}&distro=debian-13"
            purl = f"pkg:deb/debian/{name}@{quote(version)}?{where}"
            components.append(_component(name, version, purl))
    return components


def python_components(site: Path) -> list[dict[str, Any]]:
    """From the metadata of every distribution in a site folder."""
    found = importlib.metadata.distributions(path=[str(site)])
    components = []
    for entry in sorted(found, key=lambda entry: entry.name.lower()):
        name = entry.name.lower().replace("_", "-")
        purl = f"pkg:pypi/{name}@{quote(entry.version)}"
        components.append(_component(entry.name, entry.version, purl))
    return components
