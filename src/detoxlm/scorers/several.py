"""Several scorers of the same texts: the main one, whose word counts, and second opinions."""

from __future__ import annotations

from collections.abc import Sequence

from detoxlm.errors import UsageError
from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import Scorer


def load_scorers(specs: Sequence[str], *, device: str | None = None, cache: bool = True) -> dict[str, Scorer]:
    """Load the scorers that `specs` name, in their order, by label; `device` and `cache` as in `load_scorer`.

    Raises:
        UsageError: one cannot be loaded, or the same scorer is named twice.
    """
    return labelled([load_scorer(spec, device=device, cache=cache) for spec in specs])


def labelled(scorers: Sequence[Scorer]) -> dict[str, Scorer]:
    """Label scorers, in their order, by their names; a name that is taken is followed by version and revision.

    Raises:
        UsageError: the same scorer twice, which would look like two that agree.
    """
    found: dict[str, Scorer] = {}
    for scorer in scorers:
        identity = (scorer.name, scorer.version, scorer.revision)
        if any(identity == (other.name, other.version, other.revision) for other in found.values()):
            raise UsageError(f"scorer: {scorer.name} is named twice; name each scorer once, the main one first.")
        found[" ".join(identity) if scorer.name in found else scorer.name] = scorer
    return found
