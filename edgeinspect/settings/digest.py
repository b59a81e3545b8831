"""The recipe digest: one name for everything that was in force for a part."""

from __future__ import annotations

import hashlib
import json

from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.station_file import StationFile

_PLACES = {"data_dir", "bundles_dir", "trusted_keys", "storage", "control", "challenge"}
_HISTORY = {"parent", "author", "reason", "created", "audit"}


def recipe_digest(station: StationFile, recipe: Recipe, bundle_digest: str) -> str:
    """SHA-256, 64 hexadecimal digits, of station file, recipe and bundle as canonical JSON.

    It changes with every setting that can change a verdict or what the gate does, and with the
    product and revision number. Where things are kept, when a challenge is due, and who wrote a
    revision when and why, cannot, and are left out; so are comments, the order of keys, and
    defaults written out.
    """
    content = {
        "station": station.model_dump(mode="json", exclude=_PLACES),
        "recipe": recipe.model_dump(mode="json", exclude=_HISTORY),
        "bundle": bundle_digest,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
