"""The methods, by name. Adding one is one file and one line here."""

from detoxlm.errors import unknown_name
from detoxlm.methods.base import Detoxifier, FitData, Method
from detoxlm.methods.constrained import Constrained
from detoxlm.methods.contrastive import Contrastive
from detoxlm.methods.dexperts import DExperts
from detoxlm.methods.dinm import Dinm
from detoxlm.methods.dpo import Dpo
from detoxlm.methods.fusion import Fusion
from detoxlm.methods.gedi import Gedi
from detoxlm.methods.nado import Nado
from detoxlm.methods.probe import Probe
from detoxlm.methods.sft import Sft
from detoxlm.methods.subspace import Subspace
from detoxlm.methods.surgery import Surgery
from detoxlm.methods.tasft import Tasft
from detoxlm.methods.unlikelihood import Unlikelihood

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Fusion,
        Nado,
        DExperts,
        Gedi,
        Subspace,
        Surgery,
        Probe,
        Dinm,
        Tasft,
        Constrained,
        Sft,
        Unlikelihood,
        Contrastive,
        Dpo,
    )
}


def get_method(name: str) -> type[Method]:
    """Return the method of that name; raise `UsageError` with the known names for any other."""
    if name not in METHODS:
        raise unknown_name("method", name, list(METHODS))
    return METHODS[name]


__all__ = ["METHODS", "Detoxifier", "FitData", "Method", "get_method"]
