"""How many alerts would other thresholds have given? Recomputed with the features' own functions.

``knobs.py`` lists what can be turned, ``recompute.py`` runs the features with other parameters, ``rates.py`` counts,
``measure.py`` does it for every knob, ``report.py`` shows it. Nothing here writes, and nothing here knows Dagster or
the clock.
"""
