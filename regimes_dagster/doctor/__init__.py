"""``regimes doctor``: what is wrong with an installation, and what to do.

What belongs here: checks that look and change nothing, each a small function from what it looks at to findings.
What does not: printing (``commands/doctor.py``), Dagster's asset checks (``checks.py``).
"""

from regimes_dagster.doctor.examination import examine
from regimes_dagster.doctor.finding import Finding, Status, worst

__all__ = ["Finding", "Status", "examine", "worst"]
