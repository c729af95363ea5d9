"""A user's own regime classifier, checked before anything runs.

What belongs here: finding ``[multi_timeframe] classifier`` and trying it. What does not: what labels mean
(``features/regime_labels.py``) and where it is used.
"""

import importlib
import inspect
import math
import sys
from collections.abc import Callable
from itertools import product
from typing import Any, cast

from regimes_dagster.configuration.problems import Problem, SettingsError, did_you_mean, listed
from regimes_dagster.settings import Settings

Classifier = Callable[[float, float, float], tuple[str, float]]

_KEY = "multi_timeframe.classifier"

#: Scores at which the classifier is tried: every rule of the built-in one is crossed.
_SCORES = (-4.0, -1.6, -1.2, -0.8, -0.3, 0.0, 0.3, 0.8, 1.2, 1.6, 4.0)
_HEATS = (0.0, 0.25, 0.5, 0.81, 1.0)


def check_classifier(settings: Settings) -> Classifier | None:
    """The classifier of the settings, imported and tried; None if the built-in one is used.

    The folder of ``regimes.toml`` is put on the import path, so that a module beside the file is found, now and
    whenever the feature imports it.

    Raises
    ------
    SettingsError
        If it cannot be imported, does not take ``(price_z, vol_z, heat)``, fails, or returns anything but a label
        that has a meaning and a score from 0 to 1.
    """
    spec = settings.multi_timeframe.classifier
    if spec is None:
        return None
    origin = settings.origin("multi_timeframe", "classifier")
    folder = str(settings.root)
    if folder not in sys.path:
        sys.path.append(folder)
    module_name, _, name = spec.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        hint = f"Put {module_name.split('.')[0]}.py into {folder} or install it."
        raise SettingsError([Problem(_KEY, origin, f'"{spec}" cannot be imported: {error}.', hint)]) from error
    function = getattr(module, name, None)
    if not callable(function):
        candidates = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        message = f'"{spec}": {module_name} has no function {name}.'
        raise SettingsError([Problem(_KEY, origin, message, did_you_mean(name, candidates))])
    try:
        inspect.signature(function).bind(0.0, 0.0, 0.5)
    except TypeError as error:
        message = f'"{spec}" must take three numbers (price_z, vol_z, heat): {error}.'
        raise SettingsError([Problem(_KEY, origin, message)]) from error
    problems = _tried(spec, function, set(known_labels(settings)), origin)
    if problems:
        raise SettingsError(problems)
    return cast(Classifier, function)


def known_labels(settings: Settings) -> tuple[str, ...]:
    """Labels that have a meaning: the built-in ones and those of ``[multi_timeframe.labels]``."""
    from regimes_dagster.features.regime_labels import LABELS

    return (*(label.name for label in LABELS), *settings.multi_timeframe.labels)


def _tried(spec: str, function: Callable[..., Any], labels: set[str], origin: str) -> list[Problem]:
    unknown: dict[str, None] = {}
    for price_z, vol_z, heat in product(_SCORES, _SCORES, _HEATS):
        case = f"({price_z:g}, {vol_z:g}, {heat:g})"
        try:
            answer = function(price_z, vol_z, heat)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything, and would in every run
            return [Problem(_KEY, origin, f'"{spec}" fails for {case}: {type(error).__name__}: {error}.')]
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], str)):
            return [Problem(_KEY, origin, f'"{spec}" returns {answer!r} for {case}, must be (label, score).')]
        score = answer[1]
        if not isinstance(score, (int, float)) or not math.isfinite(score) or not 0 <= score <= 1:
            return [Problem(_KEY, origin, f'"{spec}" returns the score {score!r} for {case}, must be 0 to 1.')]
        if answer[0] not in labels:
            unknown.setdefault(answer[0])
    return [
        Problem(
            _KEY,
            origin,
            f'"{spec}" returns the label "{label}", which has no meaning yet. Known: {listed(sorted(labels))}.',
            f"Add a section [multi_timeframe.labels.{label}] with emoji, family, long_bias and risk_multiplier.",
        )
        for label in unknown
    ]
