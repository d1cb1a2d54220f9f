"""The detoxifier for vLLM: `vllm serve MODEL --logits-processors detoxlm.serving.vllm:Detoxifier`.

The environment of vLLM names the detoxifier (`DETOXLM_DETOXIFIER`) and, if it is to be another than the detoxifier's
own, the strength of requests that name none (`DETOXLM_STRENGTH`). It needs vLLM; `detoxlm.serving.in_vllm` does not.
"""

from __future__ import annotations

import vllm
from vllm.v1.sample.logits_processor.interface import LogitsProcessor as V1Processor
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor as V2Processor

from detoxlm.serving.in_vllm.processor import Processor
from detoxlm.vllm_installed import check_version

check_version(vllm.__version__)


class Detoxifier(Processor, V1Processor, V2Processor):
    """A processor for vLLM's model runner V1 and for V2."""
