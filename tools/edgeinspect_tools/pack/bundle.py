"""The bundle of a run: card, golden data, certificate, model card, split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgeinspect
from edgeinspect.bundle.card import CERTIFICATE_FILE, GOLDEN_FILE, Card, Fit, ThresholdCard
from edgeinspect.bundle.directory import MAX_GOLDEN_BYTES, Bundle, read_bounded, write_bundle
from edgeinspect.bundle.preprocess import to_gray
from edgeinspect.bundle.reference import REFERENCE_FILE
from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.data.dataset import Dataset, Split
from edgeinspect_tools.data.training_data import SPLIT_FILE, split_bytes
from edgeinspect_tools.pack.checked_bundle import write_checked_bundle
from edgeinspect_tools.pack.model_card import model_card_html
from edgeinspect_tools.quantize.draft_bundle import FLOAT_MODEL, bundle_in_memory, card_of
from edgeinspect_tools.quantize.gap import score_int8
from edgeinspect_tools.quantize.int8_candidates import check_gap
from edgeinspect_tools.quantize.real import Pixels
from edgeinspect_tools.quantize.steps import labelled, spread
from edgeinspect_tools.train.choice import thresholds
from edgeinspect_tools.verify.measure import Verification, verify_bundle

MODEL_CARD = "card.html"
_GOLDEN = 6
_GOLDEN_PX = 448

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The facts about a bundle that people decide.

    Attributes:
        licence: of the weights, e.g. an SPDX name.
        ship_pictures: golden data may hold pictures of the data set; else they are drawn.
        keep_float: the bundle also holds the float model, so that it can be verified anywhere.
    """

    name: str
    version: str = "1"
    licence: str = "proprietary"
    attribution: str = ""
    ship_pictures: bool = True
    keep_float: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A run after quantization.

    Attributes:
        described: the content of ``run.json``.
        quantized: the content of ``quantized.json``.
    """

    described: Mapping[str, Any]
    float_model: bytes
    int8_model: bytes
    quantized: Mapping[str, Any]


def pack(
    trained: Trained,
    dataset: Dataset,
    out: Path,
    *,
    identity: Identity,
    accept_gap: bool = False,
    replace: bool = False,
    say: Say = lambda _: None,
) -> tuple[Bundle, Verification]:
    """Choose the int8 model's thresholds on validation, measure it on test, write the bundle.

    Raises:
        NotGood: int8 strays further from float than the bound, or replay and tools differ.
        ModelRefused: ``out`` already exists, or the parts do not fit.
        StorageFault: it cannot be written; nothing is left at ``out`` then.
    """
    card = card_of(
        trained.described,
        trained.int8_model,
        name=identity.name,
        version=identity.version,
        licence=identity.licence,
        attribution=_attribution(identity, trained.described),
        provenance=_provenance(trained, dataset),
    )
    card = with_int8_thresholds(card, trained.int8_model, dataset)
    say("measuring on the test pictures")
    found = verify_bundle(
        bundle_in_memory(card, trained.int8_model), dataset.of(Split.TEST), trained.float_model
    )
    if found.gap is not None:
        check_gap(found.gap, found.layers, accept=accept_gap)
    accepted = found.gap is not None and not found.gap.is_within_bound
    figures = found.figures()
    metrics = {"held_out_pictures": len(found.items), **figures}
    if accepted:
        metrics["accepted_gap"] = True
    card = card.model_copy(update={"metrics": metrics})
    others = {SPLIT_FILE: split_bytes(dataset), MODEL_CARD: model_card_html(card, found)}
    if identity.keep_float:
        others[FLOAT_MODEL] = trained.float_model
    others |= shared_reference(card, dataset)
    bundle = write_checked_bundle(
        out,
        card,
        trained.int8_model,
        pictures=golden_pictures(card, dataset) if identity.ship_pictures else None,
        comparison={
            **found.as_dict(),
            "accepted_gap": accepted,
            "quantization": {
                key: value for key, value in trained.quantized.items() if key != "file"
            },
        },
        others=others,
        replace=replace,
    )
    return bundle, found


def rewrite_card(bundle: Bundle, **changes: Any) -> Bundle:
    """Write the bundle again in its place with other fields on its card.

    Args:
        changes: fields of the card, or ``comparison`` of the certificate.

    Raises:
        StorageFault: it cannot be written; the old bundle stays.
    """
    return copy_bundle(bundle, bundle.directory, replace=True, **changes)


def copy_bundle(bundle: Bundle, directory: Path, *, replace: bool, **changes: Any) -> Bundle:
    """Write the bundle to another place, complete or not at all.

    Args:
        directory: the new place.
        replace: a bundle that is there already is replaced.
        changes: as for ``rewrite_card``.

    Raises:
        ModelRefused: ``directory`` already exists.
        StorageFault: it cannot be written.
    """
    certificate = bundle.certificate
    if "comparison" in changes:
        certificate = certificate.model_copy(update={"comparison": changes.pop("comparison")})
    own = {bundle.card.model, GOLDEN_FILE, CERTIFICATE_FILE}
    return write_bundle(
        directory,
        card=bundle.card.model_copy(update=changes),
        model=bundle.model,
        golden=bundle.golden,
        certificate=certificate,
        others={
            name: read_bounded(bundle.directory / name, MAX_GOLDEN_BYTES)
            for name in bundle.card.digests
            if name not in own
        },
        replace=replace,
    )


def shared_reference(card: Card, dataset: Dataset) -> dict[str, bytes]:
    """``reference.png`` where all pictures are compared with one picture of the product.

    Raises:
        CameraFault: it cannot be read.
    """
    named = {item.reference for item in dataset.items}
    (reference, *others) = named
    if not card.input.reference or reference is None or others:
        return {}
    import cv2

    pixels = read_picture(reference)
    gray = pixels if pixels.ndim == 2 else to_gray(pixels)
    return {REFERENCE_FILE: cv2.imencode(".png", gray)[1].tobytes()}


def with_int8_thresholds(card: Card, model: bytes, dataset: Dataset) -> Card:
    """Thresholds chosen anew on validation, between scores that the int8 model can give.

    The card as it is where validation lacks good or defective pictures.
    """
    items = dataset.of(Split.VALIDATION)
    if len({item.is_good for item in items}) < 2:
        return card
    scored = score_int8(bundle_in_memory(card, model), labelled(items))
    bad, good = scored.bad_and_good(scored.int8)
    review, reject = thresholds(np.array(good), np.array(bad))
    limits = ThresholdCard(review=review, reject=reject)
    return card.model_copy(update={"thresholds": {"default": limits}})


def golden_pictures(card: Card, dataset: Dataset) -> list[Pixels]:
    """A few held-out pictures of every kind; large ones cut to their middle.

    With ``fit: resize`` they stay whole, for the resize is part of what is checked.
    """
    items = spread(dataset.of(Split.VALIDATION) or dataset.items, _GOLDEN)[:_GOLDEN]
    pictures = []
    for entry in labelled(items):
        pixels = entry.region(card)
        if card.input.fit is Fit.TILES:
            pixels = _middle(pixels)
        pictures.append(np.ascontiguousarray(pixels))
    return pictures


def _middle(pixels: Pixels) -> Pixels:
    top, left = (max(0, (extent - _GOLDEN_PX) // 2) for extent in pixels.shape[:2])
    return pixels[top : top + _GOLDEN_PX, left : left + _GOLDEN_PX]


def _attribution(identity: Identity, described: Mapping[str, Any]) -> str:
    """The credit that people give, and the encoder whose published weights training began from."""
    settings = described.get("settings", {})
    encoder = ""
    if settings.get("weights") == "imagenet":
        encoder = f"Encoder: {settings['network']} with its ImageNet weights (Apache-2.0)"
    return "; ".join(filter(None, (identity.attribution, encoder)))


def _provenance(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    described = trained.described
    counts = {
        split.value: {
            "good": sum(item.is_good for item in dataset.of(split)),
            "defective": sum(not item.is_good for item in dataset.of(split)),
        }
        for split in Split
    }
    kept = (
        "seed",
        "settings",
        "steps",
        "minutes",
        "pictures",
        "validation",
        "chosen_among",
        "versions",
    )
    return {
        "made_by": f"edgeinspect-tools {edgeinspect.__version__}",
        "data": {
            "name": dataset.root.name,
            "layout": dataset.kind,
            "split_seed": dataset.seed,
            "sha256": described.get("data", {}).get("sha256", ""),
            "pictures": counts,
            "drawn_defects": sum(item.drawn for item in dataset.items),
        },
        "training": {key: described[key] for key in kept if key in described},
    }
