"""DetoxLM: make open-weight language models less toxic, and prove it.

Nothing heavy is imported until it is used, so that `detoxlm --help` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detoxlm.comparing import compare
    from detoxlm.generation import Sampling, generate
    from detoxlm.methods import Detoxifier, FitData, get_method
    from detoxlm.models import Target, load_target
    from detoxlm.recipes import RECIPES, Task, measure
    from detoxlm.report import model_card, write_report
    from detoxlm.results import Results
    from detoxlm.scorers import load_scorer

_HOME = {
    "Detoxifier": "methods",
    "FitData": "methods",
    "RECIPES": "recipes",
    "Results": "results",
    "Sampling": "generation",
    "Target": "models",
    "Task": "recipes",
    "compare": "comparing",
    "generate": "generation",
    "get_method": "methods",
    "load_scorer": "scorers",
    "load_target": "models",
    "measure": "recipes",
    "model_card": "report",
    "write_report": "report",
}

__all__ = [
    "RECIPES",
    "Detoxifier",
    "FitData",
    "Results",
    "Sampling",
    "Target",
    "Task",
    "compare",
    "generate",
    "get_method",
    "load_scorer",
    "load_target",
    "measure",
    "model_card",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # reads the installed package, and takes a tenth of `detoxlm --help`

        return version("detoxlm")
    if name in _HOME:
        return getattr(import_module(f"detoxlm.{_HOME[name]}"), name)
    raise AttributeError(f"module 'detoxlm' has no attribute {name!r}")
