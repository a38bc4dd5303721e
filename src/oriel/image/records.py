"""What an image says about itself: manifest.json, and sbom.cdx.json for scanners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oriel.image.sbom import bill_of_materials

__all__ = ["FORMAT", "measured", "write_records"]

FORMAT = "oriel-image/1"  # what a manifest, and with it an exported image, is known by
RECORDS = ("manifest.json", "sbom.cdx.json")


def measured(image: Path) -> dict[str, Any]:
    """What the image's files take on this disk."""
    files = [path for path in sorted(image.iterdir()) if path.name not in RECORDS]
    sizes = {path.name: path.stat().st_blocks * 512 for path in files}
    return {"size_bytes": sum(sizes.values()), "files": sizes}


def write_records(image: Path, manifest: Mapping[str, Any]) -> None:
    """The manifest comes last: an image that has one is whole."""
    for name, document in (("sbom.cdx.json", bill_of_materials(manifest)), ("manifest.json", manifest)):
        (image / name).write_text(json.dumps(document, indent=1) + "\n")
