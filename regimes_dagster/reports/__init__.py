"""Small self-contained HTML reports: no script, no network, readable in light and dark and on paper.

``charts.py`` describes charts and draws them as inline SVG, ``axis.py`` finds round scales, ``page.py`` is the page
around them. What a report says belongs to its caller (``evidence/report.py``, ``calibration/report.py``).
"""
