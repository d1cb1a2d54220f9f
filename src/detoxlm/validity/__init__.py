"""How far a scorer can be trusted: its scores against labelled texts, with intervals, groups and worst mistakes.

A target is what people, or Perspective, said of a text: a toxicity in [0, 1]. A text is toxic when its target is at
least 0.5, and is called toxic when its score is. Everything has a 95% percentile bootstrap interval that resamples
source documents, because texts of one document are alike.
"""

from detoxlm.validity.judge import differences, distinct_texts, measure, measure_set, score_sets, validate
from detoxlm.validity.measures import (
    BINS,
    DIMENSION_MEASURES,
    MEASURES,
    TOXIC,
    Measure,
    accuracy,
    auc,
    calibration_error,
    false_negative_rate,
    false_positive_rate,
    is_binary,
    precision,
    recall,
    spearman,
)
from detoxlm.validity.readers import reader_table
from detoxlm.validity.results import (
    FEWEST_MENTIONS,
    HISTOGRAM_BINS,
    CalibrationBin,
    DimensionValidity,
    Failure,
    Group,
    SetValidity,
    Study,
    Validity,
    dimension_rows,
    rounded,
)
from detoxlm.validity.sets import LabelledSet, read_sets

__all__ = [
    "BINS",
    "DIMENSION_MEASURES",
    "FEWEST_MENTIONS",
    "HISTOGRAM_BINS",
    "MEASURES",
    "TOXIC",
    "CalibrationBin",
    "DimensionValidity",
    "Failure",
    "Group",
    "LabelledSet",
    "Measure",
    "SetValidity",
    "Study",
    "Validity",
    "accuracy",
    "auc",
    "calibration_error",
    "differences",
    "dimension_rows",
    "distinct_texts",
    "false_negative_rate",
    "false_positive_rate",
    "is_binary",
    "measure",
    "measure_set",
    "precision",
    "read_sets",
    "reader_table",
    "recall",
    "rounded",
    "score_sets",
    "spearman",
    "validate",
]
