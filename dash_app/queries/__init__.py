"""Every statement of the dashboard and of the REST interface.

What belongs here: selects, each named after what it answers and served by the index that its docstring names.
What does not: how rows are shown (``pages``, ``components``) or sent (``api``).

The primary keys of the derived tables, (symbol, ts) or (asset_pair, ts), serve the newest row per symbol and
every range; ``alerts`` has (ts desc), (symbol, ts desc), (event_type, ts desc) and (episode_id).
"""
