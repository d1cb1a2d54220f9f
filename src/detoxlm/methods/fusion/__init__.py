"""Output-layer fusion with a calibration model (arXiv 2506.01266): a small model beside the target at decoding time.

Two variants. `paper` mixes the last hidden state g of a model trained on non-toxic text into the target's, before the
head W (z~ = g, or LayerNorm(gA) where widths or tokenizers differ):

    h~ = alpha z~ + (1 - alpha) h,    logits = W h~.

`contrast`, the default, asks the small model for the *risk* s(v) of each token v that the target may choose
(`detoxlm.methods.fusion.calibrator`), and lowers the logits of those after which it is likely to end toxic:

    logits_v  <-  logits_v - 24 strength max(0, sigmoid(s(v)) - threshold),    renormalised among the candidates.

The released code feeds the calibrator only the newest token after the prompt; here it keeps a KV cache of its own and
sees the whole context, which the paper's equations ask for (`as_released` is for comparison).
"""

from __future__ import annotations

from detoxlm.methods.fusion.detoxifier import FusionDetoxifier
from detoxlm.methods.fusion.method import Fusion
from detoxlm.methods.fusion.settings import FusionSettings

__all__ = ["Fusion", "FusionDetoxifier", "FusionSettings"]
