"""The metrics, by name and in the order in which they are shown."""

from detoxlm.metrics.agreement import agreements
from detoxlm.metrics.answers import ANSWERS
from detoxlm.metrics.base import Metric, differences, estimates
from detoxlm.metrics.capability import ACCURACY, AVERAGE, accuracy, accuracy_change, average
from detoxlm.metrics.corrected import CORRECTED
from detoxlm.metrics.diversity import DIVERSITY, LENGTH
from detoxlm.metrics.fluency import DRIFT, FLUENCY
from detoxlm.metrics.groups import by_group, group_differences, measured_of_groups
from detoxlm.metrics.naming import who_is_named
from detoxlm.metrics.readers import ReaderTable
from detoxlm.metrics.toxicity import EMPTY, FRACTION, MAXIMUM, MEAN, PROBABILITY
from detoxlm.metrics.who_pays import MOST, PAYING, who_pays

#: What is read from a scorer's scores alone: every scorer has its own.
TOXICITY: tuple[Metric, ...] = (MEAN, FRACTION, CORRECTED, MAXIMUM, PROBABILITY)
METRICS: dict[str, Metric] = {
    m.name: m for m in (*TOXICITY, *FLUENCY, *PAYING, DRIFT, *DIVERSITY, EMPTY, LENGTH, *ANSWERS)
}

__all__ = [
    "ACCURACY",
    "AVERAGE",
    "CORRECTED",
    "METRICS",
    "MOST",
    "PAYING",
    "TOXICITY",
    "Metric",
    "ReaderTable",
    "accuracy",
    "accuracy_change",
    "agreements",
    "average",
    "by_group",
    "differences",
    "estimates",
    "group_differences",
    "measured_of_groups",
    "who_is_named",
    "who_pays",
]
