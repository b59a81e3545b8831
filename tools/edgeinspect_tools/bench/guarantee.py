"""The promise of a suggested threshold, tried on draws of parts whose true rate is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.intervals import clopper_pearson
from edgeinspect.tune.suggest import suggest_from_good

Rule = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuaranteeCheck:
    """How often the true false-reject rate lay above the asked one.

    Attributes:
        exceeded: draws in which it did.
        allowed_share: 1 - confidence.
        interval95: exact interval of the share of such draws.
    """

    draws: int
    parts: int
    false_reject_rate: float
    confidence: float
    levels: int
    seed: int
    exceeded: int
    interval95: tuple[float, float]
    mean_true_rate: float

    @property
    def share(self) -> float:
        """Share of the draws in which the true rate was above the requested one."""
        return self.exceeded / self.draws

    @property
    def allowed_share(self) -> float:
        """Largest share that the guarantee allows."""
        return 1 - self.confidence

    @property
    def holds(self) -> bool:
        """Whether the simulation supports the guarantee."""
        return self.interval95[0] <= self.allowed_share

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        share = {"share": self.share, "allowed_share": self.allowed_share, "holds": self.holds}
        return {**asdict(self), **share}


def check_guarantee(
    *,
    draws: int = 1000,
    parts: int = 3000,
    false_reject_rate: float = 0.01,
    confidence: float = 0.95,
    levels: int = 256,
    seed: int = 1,
    rule: Rule | None = None,
) -> GuaranteeCheck:
    """Draw good parts again and again, suggest, and compare with the rate that is true.

    The scores follow a Beta(0.7, 6) distribution in so many levels, as an int8 model's do: many
    parts near 0, few high ones, ties everywhere. The true rate of a threshold is the weight of
    the levels at or above it, so nothing is estimated.

    Args:
        rule: gives the threshold instead of ``suggest_from_good``, to try the check itself.

    Raises:
        NotGood: so few parts cannot show the rate.
    """
    from scipy.special import betainc

    def suggested(good: NDArray[np.float64]) -> float:
        return suggest_from_good(
            good, false_reject_rate=false_reject_rate, confidence=confidence
        ).threshold

    edges = np.linspace(0, 1, levels + 1)
    weights = np.diff(betainc(0.7, 6.0, edges))
    weights /= weights.sum()
    scores = (edges[1:] + edges[:-1]) / 2
    random = np.random.default_rng(seed)
    exceeded, total = 0, 0.0
    for _ in range(draws):
        threshold = (rule or suggested)(random.choice(scores, parts, p=weights))
        true_rate = float(weights[scores >= threshold].sum())
        exceeded += true_rate > false_reject_rate
        total += true_rate
    return GuaranteeCheck(
        draws=draws,
        parts=parts,
        false_reject_rate=false_reject_rate,
        confidence=confidence,
        levels=levels,
        seed=seed,
        exceeded=exceeded,
        interval95=clopper_pearson(exceeded, draws),
        mean_true_rate=total / draws,
    )
