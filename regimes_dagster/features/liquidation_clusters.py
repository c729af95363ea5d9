"""Clusters of liquidation prices by DBSCAN, the alternative to density peaks.

What belongs here: the adapter to scikit-learn, which only this alternative needs. What does not: the default
(``liquidation_density.py``) and what a zone is (``liquidation_zones.py``).
"""

from collections.abc import Callable

import numpy as np

from regimes_dagster.features.liquidation_density import REACH, Peaks
from regimes_dagster.features.market_rows import Floats, Ints

#: DBSCAN: neighbourhood in 24 h volatilities, and the share of all weight that makes a core point.
DBSCAN_EPS = 0.15
DBSCAN_CORE_SHARE = 0.03

#: Rows, their number, positions and weights to peaks.
Cluster = Callable[[Ints, int, Floats, Floats], Peaks]


def dbscan_peaks() -> Cluster:
    """Clusters by DBSCAN: edges are the outermost prices, the centre is their weighted mean."""
    try:
        from sklearn.cluster import DBSCAN
    except ImportError as error:
        raise ImportError(
            'zone_method = "dbscan" needs scikit-learn: pip install scikit-learn, or set zone_method = "kde"'
        ) from error

    def cluster(row: Ints, n_rows: int, x: Floats, weight: Floats) -> Peaks:
        found: list[tuple[int, float, float, float]] = []
        for r in range(n_rows):
            mine = (row == r) & (np.abs(x) <= REACH)
            if not mine.any():
                continue
            points, mass = x[mine], weight[mine]
            # min_samples must be a whole number, so the weights are scaled instead.
            core = 1_000_000
            scaled = mass / (DBSCAN_CORE_SHARE * mass.sum()) * core
            labels = DBSCAN(eps=DBSCAN_EPS, min_samples=core).fit(points[:, None], sample_weight=scaled).labels_
            groups = [labels == label for label in range(labels.max() + 1)]
            spans = [(points[g].min(), float(np.average(points[g], weights=mass[g])), points[g].max()) for g in groups]
            found.extend((r, *span) for span in sorted(spans))
        columns = np.array(found, dtype=np.float64).reshape(-1, 4)
        return Peaks(columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2], columns[:, 3])

    return cluster
