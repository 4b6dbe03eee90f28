"""What explanations are worth, of classifiers and of segmentation networks.

tally = measure(find("minmax-cam")(), subject, batches, classes=20)
tally.summary()["weighted"]["ado"], tally.class_table(names, others="multi_only")
seed_scores(measure_seeds(method, subject, few, 20), measure_seeds(method, subject, others, 20))
"""

from __future__ import annotations

from wsss.explain.metrics.confidence import confidence, f_score
from wsss.explain.metrics.localisation import energy, seed_scores
from wsss.explain.metrics.measuring import ExplainedBatch, Metrics, measure, measure_seeds
from wsss.explain.metrics.regional import RegionMetrics, measure_regions
from wsss.explain.metrics.road import road
from wsss.explain.metrics.tables import DetectionTable, Tally, write_table

__all__ = [
    "ExplainedBatch",
    "DetectionTable",
    "Metrics",
    "RegionMetrics",
    "Tally",
    "confidence",
    "energy",
    "f_score",
    "measure",
    "measure_regions",
    "measure_seeds",
    "road",
    "seed_scores",
    "write_table",
]
