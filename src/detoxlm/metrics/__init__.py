"""The metrics, by name and in the order in which they are shown."""

from detoxlm.metrics.agreement import agreements
from detoxlm.metrics.answers import ANSWERS
from detoxlm.metrics.base import Metric
from detoxlm.metrics.diversity import DIVERSITY, LENGTH
from detoxlm.metrics.fluency import DRIFT, FLUENCY
from detoxlm.metrics.toxicity import EMPTY, TOXICITY

METRICS: dict[str, Metric] = {m.name: m for m in (*TOXICITY, *FLUENCY, DRIFT, *DIVERSITY, EMPTY, LENGTH, *ANSWERS)}

__all__ = ["METRICS", "TOXICITY", "Metric", "agreements"]
