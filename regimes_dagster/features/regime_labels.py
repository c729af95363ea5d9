"""What a trend score, a volatility score and heat are called, and what each label stands for.

What belongs here: the table of labels, the classifier, and a user's own classifier in its place. What does not: the
scores (``timeframe_bars.py``), the memory that keeps a label from flickering (``regime_deadband.py``) and how
timeframes are weighed against each other (``regime_votes.py``).
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regimes_dagster.parameters import MultiTimeframeParameters

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

#: (price_z, vol_z, heat) -> (label, score in [0, 1])
Classifier = Callable[[float, float, float], tuple[str, float]]


@dataclass(frozen=True)
class Label:
    """A regime label; ``family`` is -1 bear, 0 neutral, 1 bull, ``risk_multiplier`` a caution factor, no size."""

    name: str
    emoji: str
    family: int
    long_bias: float
    risk_multiplier: float


UNKNOWN = Label("UNKNOWN", "❔", 0, 0.0, 1.0)
#: In the order in which the rules are tried.
LABELS: tuple[Label, ...] = (
    UNKNOWN,
    Label("SUPER_HOT", "🔥", 1, 0.3, 1.8),
    Label("CAPITULATION", "💥", -1, -0.2, 2.5),
    Label("CHOPPY", "⚡", 0, 0.0, 1.8),
    Label("BULL_TREND", "🚀", 1, 1.0, 1.0),
    Label("BEAR_TREND", "🐻", -1, -1.0, 1.5),
    Label("WARMING", "🌤️", 1, 0.5, 1.0),
    Label("COOLING", "🌧️", -1, -0.5, 1.2),
    Label("QUIET", "😴", 0, 0.0, 0.7),
    Label("NEUTRAL", "⚖️", 0, 0.0, 1.0),
)
#: Labels that raise the severity of a confirmation.
ALARMING = frozenset({"SUPER_HOT", "CAPITULATION"})

HOT, HOT_PRICE = 0.8, 1.5
STRONG, MILD, WILD = 1.0, 0.5, 1.5
PANIC_PRICE, CALM = -1.5, -1.0


def normal_cdf(x: Floats) -> Floats:
    """Standard normal distribution function."""
    from scipy.special import ndtr

    out: Floats = ndtr(x)
    return out


def classify_regime_simple(price_z: float, vol_z: float, heat: float = 0.5) -> tuple[str, float]:
    """Label and score of one trend score, volatility score and heat; the first rule that matches wins.

    Parameters
    ----------
    price_z, vol_z
        Scores in standard deviations; NaN (or None) gives UNKNOWN.
    heat
        Share in [0, 1]; NaN counts as 0.5.

    Returns
    -------
    label, score
        A name of ``LABELS`` and a figure in [0, 1]. The score says how clear the label is, not how probable a
        move is.
    """
    if price_z is None or vol_z is None or math.isnan(price_z) or math.isnan(vol_z):
        return "UNKNOWN", 0.0
    if heat > HOT and price_z > HOT_PRICE:
        return "SUPER_HOT", 0.95
    if price_z < PANIC_PRICE and vol_z > WILD:
        return "CAPITULATION", 0.90
    if abs(price_z) <= MILD and vol_z > WILD:
        return "CHOPPY", 0.70
    up = 0.5 * math.erfc(-price_z / math.sqrt(2))
    down = 0.5 * math.erfc(price_z / math.sqrt(2))
    if price_z > STRONG:
        return "BULL_TREND", up
    if price_z < -STRONG:
        return "BEAR_TREND", down
    if price_z > MILD:
        return "WARMING", up
    if price_z < -MILD:
        return "COOLING", down
    if vol_z < CALM:
        return "QUIET", 0.70
    return "NEUTRAL", 1 - 2 * abs(up - 0.5)


def classify_codes(price_z: Floats, vol_z: Floats) -> Callable[[Floats], Codes]:
    """The rules of ``classify_regime_simple`` as array operations: codes into ``LABELS``, given heat."""
    unknown = np.isnan(price_z) | np.isnan(vol_z)
    flat, wild = np.abs(price_z) <= MILD, vol_z > WILD
    rules = [
        unknown,
        np.zeros(price_z.shape, dtype=bool),
        (price_z < PANIC_PRICE) & wild,
        flat & wild,
        price_z > STRONG,
        price_z < -STRONG,
        price_z > MILD,
        price_z < -MILD,
        vol_z < CALM,
    ]

    def with_heat(heat: Floats) -> Codes:
        rules[1] = (heat > HOT) & (price_z > HOT_PRICE)
        codes: Codes = np.select(rules, [np.int8(i) for i in range(len(rules))], np.int8(len(rules)))
        return codes

    return with_heat


def classify_regime(
    price_z: npt.ArrayLike, vol_z: npt.ArrayLike, heat: npt.ArrayLike = 0.5, classifier: Classifier | None = None
) -> tuple[npt.NDArray[np.object_], Floats]:
    """``classify_regime_simple``, or a classifier of one's own, over arrays.

    Parameters
    ----------
    price_z, vol_z, heat
        Arrays that broadcast against each other.
    classifier
        Called with three floats wherever both scores are known; default the built-in rules.

    Returns
    -------
    label, score
        object and float arrays of the broadcast shape; UNKNOWN and 0 where a score is NaN.
    """
    pz, vz, ht = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (price_z, vol_z, heat)))
    rule = classifier or classify_regime_simple
    known = ~(np.isnan(pz) | np.isnan(vz))
    label = np.full(pz.shape, UNKNOWN.name, dtype=object)
    score = np.zeros(pz.shape)
    if known.any():
        points, back = np.unique(np.stack([pz[known], vz[known], ht[known]]), axis=1, return_inverse=True)
        answers = [rule(float(p), float(v), float(h)) for p, v, h in points.T]
        label[known] = np.array([name for name, _ in answers], dtype=object)[back]
        score[known] = np.array([value for _, value in answers], dtype=np.float64)[back]
    return label, score


@dataclass(frozen=True)
class Taxonomy:
    """The labels in force and the rule that gives them; code = position in ``labels``, UNKNOWN is 0."""

    labels: tuple[Label, ...]
    classifier: Classifier | None = None

    @property
    def names(self) -> list[str]:
        """Names by code."""
        return [label.name for label in self.labels]

    def column(self, attribute: str) -> Floats:
        """A numeric attribute of every label, by code."""
        return np.array([getattr(label, attribute) for label in self.labels], dtype=np.float64)

    def codes(self, price_z: Floats, vol_z: Floats, heat: Floats) -> Codes:
        """Codes of the labels of an array of scores.

        Raises
        ------
        ValueError
            If the user's classifier returns a label that has no meaning, or no (label, score).
        """
        if self.classifier is None:
            return classify_codes(price_z, vol_z)(heat)
        try:
            label, _ = classify_regime(price_z, vol_z, heat, self.classifier)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"[multi_timeframe] classifier must take three floats and return (label, score); it failed: {error}"
            ) from error
        index = {name: code for code, name in enumerate(self.names)}
        unknown = sorted({str(name) for name in np.unique(label.astype(str))} - set(index))
        if unknown:
            raise ValueError(
                f"the classifier returned {', '.join(unknown)}, which has no meaning yet; add "
                f"[multi_timeframe.labels.{unknown[0]}] with emoji, family, long_bias and risk_multiplier"
            )
        flat = np.array([index[name] for name in label.ravel()], dtype=np.int8)
        return flat.reshape(label.shape)


def taxonomy(params: MultiTimeframeParameters) -> Taxonomy:
    """Labels and classifier that the configuration asks for; labels of the same name replace the built-in ones."""
    own = [Label(name, p.emoji, p.family, p.long_bias, p.risk_multiplier) for name, p in params.labels.items()]
    names = {label.name for label in own}
    if UNKNOWN.name in names:
        raise ValueError("[multi_timeframe.labels.UNKNOWN] cannot be changed: UNKNOWN means that a score is missing")
    replaced = [next((o for o in own if o.name == label.name), label) for label in LABELS]
    added = [label for label in own if label.name not in {b.name for b in LABELS}]
    return Taxonomy((*replaced, *added), load_classifier(params.classifier) if params.classifier else None)


def load_classifier(path: str) -> Classifier:
    """The function that ``module:function`` names.

    Raises
    ------
    ValueError
        If the text, the module or the function is wrong, saying which.
    """
    module_name, _, function_name = path.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"[multi_timeframe] classifier = {path!r}: write module:function, e.g. my_regimes:classify")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"[multi_timeframe] classifier = {path!r}: cannot import {module_name} ({error}); "
            "put the file into the working folder or on PYTHONPATH"
        ) from error
    function: Any = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"[multi_timeframe] classifier = {path!r}: {module_name} has no function {function_name}")
    classifier: Classifier = function
    return classifier
