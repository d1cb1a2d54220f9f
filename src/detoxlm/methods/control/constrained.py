"""Attribute-controlled fine-tuning (arXiv 2410.05559): learn a corpus, and to satisfy a constraint, at once.

    minimise  L_LM(corpus) + lambda KL(q || model)    on text that is prone to violations,

q the untouched model p lowered by `control.auxiliary.lowering` where its auxiliary model sees a violation coming:
tilted by 24 guidance max(0, v - tolerance), or as published, q ~ p R^guidance. Without a corpus the text is the
target's own, clean and violating. The released code cannot run and differs from the paper: it has no L_LM, and starts
again from the base in every round; here both terms are in every step. The adaptive form holds only those texts to q
that violate the constraint, and leaves the rest of the corpus to be learned as it is. Several iterations, in sequence
or in parallel, are in `detoxlm.methods.control.schedule`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from detoxlm.errors import UsageError
from detoxlm.methods.base import FitData, Method
from detoxlm.methods.control.fit import check_auxiliary
from detoxlm.methods.control.settings import ConstrainedSettings
from detoxlm.methods.needs import Need
from detoxlm.methods.training import check_installed
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target


@dataclass
class ConstrainedDetoxifier(FineTunedDetoxifier):
    """A model that was fine-tuned under a constraint."""

    method: ClassVar[str] = "constrained"
    settings_type: ClassVar = ConstrainedSettings

    @property
    def default_strength(self) -> float:
        """1.5: going on in the direction of a short training costs less than a longer training."""
        return 1.5


class Constrained(Method):
    """Fine-tune on a corpus, partly bad, under a constraint that any scorer can be."""

    name: ClassVar[str] = "constrained"
    paper: ClassVar[str] = "Attribute-controlled fine-tuning, arXiv 2410.05559"
    summary: ClassVar[str] = (
        "An adapter learns a corpus, even a partly toxic one, and a tiny model of a constraint keeps it clean."
    )
    detoxifier_type: ClassVar = ConstrainedDetoxifier
    needs: ClassVar[Need] = "states"

    @classmethod
    def check(cls, data: FitData, settings: Any, target: Target | None = None) -> None:
        """Refuse to train where what trains is not installed, and texts and iterations that do not go together."""
        super().check(data, settings, target)
        check_installed(cls.name)
        if data.corpus is not None and (data.harmful or data.pairs):
            raise UsageError(
                f"{'harmful' if data.harmful else 'pairs'}: with --corpus the texts held to the constraint are the "
                "corpus's own violations; leave it out, or give its texts in --corpus too."
            )
        check_auxiliary(data, settings, target)
        if settings.iterations > 1 or settings.schedule == "parallel":
            from detoxlm.methods.control.schedule import check

            check(settings)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> ConstrainedDetoxifier:
        """Train the auxiliary model, then the target under it."""
        cls.check(data, settings, target)
        if settings.iterations == 1 and settings.schedule == "sequential":
            from detoxlm.methods.control.tuning import fine_tune_under_constraint as fine_tune
        else:
            from detoxlm.methods.control.schedule import fine_tune_in_iterations as fine_tune

        made = fine_tune(target, data, settings, cls.detoxifier_type)
        assert isinstance(made, ConstrainedDetoxifier)
        return made
