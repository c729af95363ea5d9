"""What the signals are worth: validity tests on stored history, with intervals and baselines.

One file per family of tests (``regime_volatility.py``, ``forecast_quality.py``, ``cascades.py``, ``zones.py``,
``funding.py``, ``pair_breaks.py``, ``confirmations.py``, ``alert_budget.py``), one per statistic
(``block_bootstrap.py``, ``hac.py``, ``trend_test.py``, ``multiple_testing.py``, ``event_study.py``), one that reads
(``inputs.py``), one that runs them all (``measure.py``) and one that shows (``report.py``). Nothing here knows Dagster
or the clock.
"""
