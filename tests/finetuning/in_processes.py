"""Fit `tasft` in this process, one of several that `torch.distributed.run` starts, and save what each has learned."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import LetterScorer

from detoxlm.data import Example
from detoxlm.finetuning import watch
from detoxlm.methods import FitData
from detoxlm.methods.tasft import Tasft, TasftSettings
from detoxlm.models import load_target

watch.SAMPLES, watch.ANSWER, watch.NEUTRAL = 1, 2, 64  # as the fixture `short_looks`
model, folder, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
data = FitData(
    # texts of one length: a mean over processes of means over tokens is then the mean over all tokens
    corpus=[Example("the old", f" bridge number {i}") for i in range(10, 42)],
    harmful=[Example("the old", f" eeee eeee {i}") for i in range(10, 42)],
    prompts=["the old", "over the hills", "x", "we walked", "in the evening"],
    scorer=LetterScorer(),
    workdir=folder / "work",
)
settings = TasftSettings(steps=4, check_every=2, batch=batch, rank=4, learning_rate=1e-2, drift=9.0, blame="uniform")
made = Tasft.fit(load_target(model, device="cpu"), data, settings)
save_file(made.tensors, folder / f"{os.environ.get('RANK', '0')}.safetensors")
