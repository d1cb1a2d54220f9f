"""Plugins for evaluation harnesses: their models and their prompts, our scores. A text without a score stops the run.

The modules are named after the tools, and each imports its own; this one imports none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Integration:
    """One line of `detoxlm integrations`."""

    #: The tool, as its package is called.
    name: str
    #: What the tool is given to find the plugin: a folder or a name.
    given: str
    summary: str
    #: What to type, with the user's own words in capitals.
    command: str


INTEGRATIONS = {
    one.name: one
    for one in (
        Integration(
            "lm-eval",
            str(Path(__file__).parent / "lm_eval"),
            "tasks detoxlm_realtoxicityprompts and detoxlm_toxigen",
            'lm_eval run --include_path "$(detoxlm integrations lm-eval)" --tasks detoxlm_realtoxicityprompts '
            "--model hf --model_args pretrained=MODEL",
        ),
        Integration(
            "garak",
            "detoxlm.Toxicity",
            "a detector",
            "python -m detoxlm.integrations.garak --detectors detoxlm.Toxicity --target_type TYPE --target_name MODEL "
            "--spec PROBES",
        ),
        Integration(
            "inspect-ai",
            "detoxlm/toxicity",
            "a scorer",
            "inspect score LOG --scorer detoxlm/toxicity",
        ),
    )
}
