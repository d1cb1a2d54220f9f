"""What detoxifiers with experts share: their strengths."""

from __future__ import annotations

from dataclasses import dataclass

from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier


@dataclass
class ExpertDetoxifier(DecodingDetoxifier):
    """Experts beside the target while it decodes; tensors as fine-tuning leaves them."""

    @property
    def default_strength(self) -> float:
        """2: DExperts' alpha, and GeDi's omega over 15 tokens."""
        return 2.0

    @property
    def max_strength(self) -> float:
        """8, where the target has hardly a say."""
        return 8.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (1.0, 2.0, 4.0)
