"""How far the timeframes agree: primary regime, confidence, bias and caution.

What belongs here: the vote of the labels of one hour. What does not: the labels (``regime_labels.py``), memory,
and events (``multi_timeframe.py``).

Agreement does not predict direction (measured: Spearman correlation of the score with the next 24 h return is
about zero); confidence says how many timeframes call the same family, nothing more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.regime_labels import Codes, Taxonomy, normal_cdf

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int8]

FAMILIES = (-1, 0, 1)
#: Timeframes that must have a label before agreement means anything.
MIN_TIMEFRAMES = 3
#: Timeframes of at least this weight set the caution factor.
HEAVY = 0.25
#: Soft membership: where a family begins, and how gradually, in price_z.
SOFT_EDGE, SOFT_WIDTH = 0.5, 0.5
_TIE = 1e-9


@dataclass(frozen=True)
class Votes:
    """Agreement per series and hour, arrays [K, T].

    Attributes
    ----------
    primary
        Code of the label of the heaviest timeframe inside the leading family; 0 (UNKNOWN) without any label.
    family
        Leading family by weight, -1, 0 or 1.
    n_timeframes
        Timeframes that have a label.
    confidence
        Votes for the family / ``n_timeframes``; NaN below three.
    confidence_weighted
        Soft agreement with the family, in [0, 1]; NaN below three timeframes.
    share
        Weight of the family among the timeframes that have a label.
    long_bias
        Weighted lean in [-1, 1]; NaN without any label.
    risk_multiplier
        Largest caution factor of the heavy timeframes; NaN if none of them has a label.
    """

    primary: Codes
    family: Ints
    n_timeframes: Ints
    confidence: Floats
    confidence_weighted: Floats
    share: Floats
    long_bias: Floats
    risk_multiplier: Floats


def count_votes(codes: Sequence[Codes], price_z: Sequence[Floats], weights: Sequence[float], labels: Taxonomy) -> Votes:
    """Weigh the labels of several timeframes against each other.

    Parameters
    ----------
    codes
        Per timeframe, lowest first: codes[K, T] into ``labels``; 0 abstains.
    price_z
        Per timeframe: float[K, T] trend scores, for the soft agreement.
    weights
        Per timeframe; renormalised over those that have a label. A tie between families goes to the one that
        holds the highest timeframe.
    """
    shape = codes[0].shape
    family_of = labels.column("family").astype(np.int8)
    here = [code > 0 for code in codes]
    families = [family_of[code] for code in codes]
    n = sum(h.astype(np.int8) for h in here)
    n_timeframes = np.asarray(n, dtype=np.int8)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = _sum(np.where(h, w, 0.0) for h, w in zip(here, weights, strict=True))
        shares = np.stack(
            [
                _sum(np.where(h & (f == family), w, 0.0) for h, f, w in zip(here, families, weights, strict=True))
                / total
                for family in FAMILIES
            ]
        )
        leading = shares >= shares.max(axis=0) - _TIE
        family = np.zeros(shape, dtype=np.int8)
        open_ = np.ones(shape, dtype=bool)
        for h, f in reversed(list(zip(here, families, strict=True))):
            chosen = open_ & h & np.take_along_axis(leading, (f + 1).astype(np.intp)[None], axis=0)[0]
            family[chosen] = f[chosen]
            open_ &= ~chosen
        inside = [h & (f == family) for h, f in zip(here, families, strict=True)]
        enough = n_timeframes >= MIN_TIMEFRAMES
        votes = _sum(i.astype(np.float64) for i in inside)
        soft = _sum(
            np.where(h, w * _membership(pz, family), 0.0) for h, w, pz in zip(here, weights, price_z, strict=True)
        )
        bias = labels.column("long_bias")
        risk = labels.column("risk_multiplier")
        heavy = [
            np.where(h, risk[code], -np.inf) for h, code, w in zip(here, codes, weights, strict=True) if w >= HEAVY
        ]
        caution = np.max(np.stack(heavy), axis=0) if heavy else np.full(shape, -np.inf)
        return Votes(
            primary=_heaviest(codes, inside, weights),
            family=family,
            n_timeframes=n_timeframes,
            confidence=np.where(enough, votes / n_timeframes, np.nan),
            confidence_weighted=np.where(enough, np.clip(soft / total, 0, 1), np.nan),
            share=np.where(
                total > 0, np.take_along_axis(shares, (family + 1).astype(np.intp)[None], axis=0)[0], np.nan
            ),
            long_bias=_sum(np.where(h, w * bias[code], 0.0) for h, w, code in zip(here, weights, codes, strict=True))
            / total,
            risk_multiplier=np.where(np.isfinite(caution), caution, np.nan),
        )


def _heaviest(codes: Sequence[Codes], inside: Sequence[npt.NDArray[np.bool_]], weights: Sequence[float]) -> Codes:
    primary = np.zeros(codes[0].shape, dtype=np.int8)
    for i in sorted(range(len(codes)), key=lambda i: (weights[i], i)):
        primary = np.where(inside[i], codes[i], primary)
    return primary


def _membership(price_z: Floats, family: Ints) -> Floats:
    up = normal_cdf((price_z - SOFT_EDGE) / SOFT_WIDTH)
    down = normal_cdf((-price_z - SOFT_EDGE) / SOFT_WIDTH)
    return np.where(family > 0, up, np.where(family < 0, down, np.maximum(1 - up - down, 0.0)))


def _sum(terms: Iterable[Floats]) -> Floats:
    total: Floats | None = None
    for term in terms:
        total = term if total is None else total + term
    assert total is not None
    return total
