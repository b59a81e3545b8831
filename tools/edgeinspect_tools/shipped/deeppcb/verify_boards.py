"""A circuit board bundle on DeepPCB's official test split, by the data set's own figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeinspect.bundle.directory import Bundle
from edgeinspect.errors import UsageError
from edgeinspect_tools.shipped.deeppcb.boards import CLASSES, read_split
from edgeinspect_tools.shipped.deeppcb.train_deeppcb import described_figures, evaluate_bundle


def verify_boards(bundle: Bundle, root: Path) -> dict[str, Any]:
    """The mAP and F-score at IoU 0.33 on the test pairs, each with its own template.

    The F-score's threshold is the bundle's reject threshold, chosen on validation pairs.

    Raises:
        UsageError: no DeepPCB there, or the bundle is for other defects.
    """
    missing = set(CLASSES) - set(bundle.card.defect_classes)
    if missing:
        raise UsageError(
            f"{bundle.card.name} does not know {', '.join(sorted(missing))}, so it cannot be "
            "measured on DeepPCB.",
            next_action="Give a bundle made for circuit boards.",
        )
    samples = read_split(root, "test")
    if not samples:
        raise UsageError(f"{root / 'test.txt'} lists no pictures.")
    reject = bundle.card.threshold(CLASSES[0]).reject
    found = evaluate_bundle(bundle, samples, threshold=reject)
    return {
        **described_figures(found),
        "n_pictures": len(samples),
        "model_bytes": len(bundle.model),
    }
