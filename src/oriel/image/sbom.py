"""What an image is made of, for those who look for known faults in it: CycloneDX 1.6. Pure.

https://cyclonedx.org/docs/1.6/json/ and, for the names, https://github.com/package-url/purl-spec
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import oriel

__all__ = ["bill_of_materials"]


def bill_of_materials(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """From an image's manifest. The same manifest gives the same document: it carries no date of its own."""
    recipe = manifest["plan"]["recipe"]
    components = [
        *(_debian(name, found, recipe) for name, found in manifest["packages"].items()),
        *(_npm(name, version) for name, versions in manifest["npm"].items() for version in versions),
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'oriel:' + manifest['content'])}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "oriel", "version": oriel.__version__}]},
            "component": {
                "type": "operating-system", "bom-ref": manifest["id"], "name": manifest["name"],
                "version": manifest["version"],
                "hashes": [{"alg": "SHA-256", "content": manifest["content"]}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": manifest["id"], "dependsOn": sorted(item["bom-ref"] for item in components)}
        ],
    }  # fmt: skip


def _debian(name: str, found: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    version = found["version"]
    purl = (
        f"pkg:deb/{recipe['distribution']}/{quote(name)}@{quote(version, safe='')}"
        f"?arch={found['architecture']}&distro={recipe['suite']}"
    )
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _npm(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:npm/{quote(name, safe='/')}@{quote(version, safe='')}"
    group, _, bare = name.rpartition("/")
    named = {"group": group, "name": bare} if group else {"name": bare}
    return {"type": "library", "bom-ref": purl, **named, "version": version, "purl": purl}
