"""Alerts: recorded once, delivered at least once, never to the wrong place.

What belongs here: everything between an episode's phase change and a receiver's answer. The order of reading:
``records`` (events -> alert rows), ``planning`` (rows -> deliveries), ``delivery`` (deliveries -> posts),
``answers`` (answers -> decisions). What does not: Dagster (``sensors/``, ``resources/``) and the detection of
episodes (``features/``).
"""
