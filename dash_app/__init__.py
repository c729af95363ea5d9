"""The dashboard and the REST interface: they read tables and never import the pipeline.

What belongs here: the served application (``app.py``), its queries, pages, components and REST routes. What does
not: anything that computes a feature, talks to a venue or runs Dagster.
"""
