"""The software bill of materials: every Debian package and Python distribution in the image."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote


def write(root: Path, site: Path, out: Path, *, version: str) -> None:
    """Write CycloneDX 1.6 JSON (https://cyclonedx.org/docs/1.6/json/)."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "operating-system", "name": "edgeinspect", "version": version}
        },
        "components": [*debian_components(root), *python_components(site)],
    }
    out.write_text(json.dumps(document, indent=1) + "\n")


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
            components.append(
                {
                    "type": "library",
                    "name": name,
                    "version": version,
                    "purl": f"pkg:deb/debian/{name}@{quote(version)}?{where}",
                }
            )
    return components


def python_components(site: Path) -> list[dict[str, Any]]:
    """From the metadata of every distribution in a site folder."""
    found = importlib.metadata.distributions(path=[str(site)])
    return [
        {
            "type": "library",
            "name": entry.name,
            "version": entry.version,
            "purl": f"pkg:pypi/{entry.name.lower().replace('_', '-')}@{quote(entry.version)}",
        }
        for entry in sorted(found, key=lambda entry: entry.name.lower())
    ]
