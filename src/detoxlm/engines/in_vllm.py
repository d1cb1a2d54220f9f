"""vLLM in this process: it writes the continuations; given text is read by transformers, beside it.

vLLM tells of given text what the untouched model would say, so perplexity, KL and text about groups are measured on the
target that `Here` has, with the detoxifier attached. The target is also what tokenises prompts: both read the same.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from detoxlm import memory
from detoxlm.adapters import ADAPTER_CONFIG
from detoxlm.engines.base import Written
from detoxlm.engines.here import Here
from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.generation import Generation, Sampling, decode, encode, end_tokens, planned, stream
from detoxlm.loading import quiet_transformers
from detoxlm.models import Target
from detoxlm.progress import track, waiting
from detoxlm.sizing import BatchSize
from detoxlm.vllm_installed import FOLDER

#: Continuations that are asked for together where no number is given: vLLM batches them itself, and these are kept.
TOGETHER = 256
#: Tokens of a prompt with its continuation that it has room for at least, where the model has: what is asked later, as
#: the prompts about people after those of the recipe, may be longer than what is asked first.
ROOM = 2048
#: What vLLM is told where the user's environment says nothing. In one process, what fails is an exception here.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; without it vLLM takes nearly all of the machine's memory
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # `--json` has the standard output for itself
}
#: The processor that acts on every token, as vLLM is told of it.
_PROCESSOR = "detoxlm.serving.vllm:Detoxifier"


def _failed(error: Exception) -> DetoxError:
    """Say what went wrong: vLLM has errors of many kinds."""
    return DetoxError(f"vllm: it failed ({type(error).__name__}): {first_line(error)}")


class Vllm:
    """A vLLM engine that starts when it is first asked; a process has one, for vLLM's state is the process's."""

    _begun = False

    def __init__(
        self, version: str, edited: Callable[[Path], None] | None, detoxifier: str | None, **options: Any
    ) -> None:
        """Take what it is to run; nothing is started.

        Args:
            version: of vLLM.
            edited: writes the checkpoint to run to a folder; None: the target's own is run.
            detoxifier: the folder or Hub id of one that acts on logits; None: none does.
            options: of vLLM's `LLM`: how the target's own checkpoint was loaded.
        """
        self.version = version
        self._edited, self._detoxifier, self._options = edited, detoxifier, options
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._engine: Any = None

    def ask(self, prompts: Sequence[list[int]], params: Sequence[dict[str, Any]]) -> list[list[int]]:
        """Return the tokens that it, started, writes after each prompt.

        Args:
            prompts: their tokens.
            params: of each, what its `SamplingParams` are.

        Raises:
            DetoxError: it fails.
        """
        try:
            from vllm import SamplingParams

            given = [{"prompt_token_ids": ids} for ids in prompts]
            found = self._engine.generate(given, [SamplingParams(**one) for one in params], use_tqdm=False)
            return [list(one.outputs[0].token_ids) for one in found]
        except Exception as error:  # vLLM has errors of many kinds
            raise _failed(error) from error

    def started(self, target: Target, longest: int, rows: int) -> None:
        """Start it where it is not yet: that takes long, and is no part of the time that writing takes.

        Args:
            target: the model that it runs, for its weights' place and its dtype.
            longest: tokens of the longest prompt with its continuation; what is asked later may have `ROOM` at least.
            rows: continuations that are written together.

        Raises:
            DetoxError: it cannot be started, or was started in this process before.
        """
        if self._engine is not None:
            return
        try:
            self._start(target, longest, rows)
        except DetoxError:
            raise
        except Exception as error:
            raise _failed(error) from error

    def _start(self, target: Target, longest: int, rows: int) -> None:
        if Vllm._begun:
            raise DetoxError("vllm: a process starts it once; measure with it again from another process.")
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if self._detoxifier is not None:
            os.environ[FOLDER] = self._detoxifier
        most = getattr(target.model.config.get_text_config(), "max_position_embeddings", ROOM)
        with waiting("starting vLLM"):
            checkpoint = self._checkpoint(target)
            options = self._options if self._folder is None else {**self._options, "revision": None}  # written here
            Vllm._begun = True
            from vllm import LLM

            self._engine = LLM(
                checkpoint,
                dtype=str(target.model.dtype).removeprefix("torch."),
                max_model_len=max(longest, min(ROOM, most)),
                max_num_seqs=rows,
                enforce_eager=not torch.cuda.is_available(),  # on a CPU compiling takes longer than it saves
                generation_config="vllm",  # what is not asked for is not the model's to decide
                logits_processors=[] if self._detoxifier is None else [_PROCESSOR],
                **options,
            )

    def _checkpoint(self, target: Target) -> str:
        """Return the folder or Hub id of the checkpoint to run, written first where there is none."""
        name = str(target.model.config.name_or_path)
        merged = (Path(name) / ADAPTER_CONFIG).is_file()  # an adapter that was put into the weights of its base
        if self._edited is None and not merged:
            return name
        self._folder = tempfile.TemporaryDirectory(prefix="detoxlm-vllm-")
        folder = Path(self._folder.name) / "model"
        if self._edited is not None:
            self._edited(folder)
        else:
            with quiet_transformers():
                target.model.save_pretrained(folder)
                target.save_tokenizer(folder)
        return str(folder)

    def close(self) -> None:
        """Stop it, if it was started, and delete what was written for it."""
        if self._engine is not None:
            self._engine.llm_engine.engine_core.shutdown()
            self._engine = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


@dataclass(frozen=True)
class InVllm(Here):
    """A target whose continuations vLLM writes; all else is as `Here` has it."""

    vllm: Vllm = field(kw_only=True)

    @property
    def identity(self) -> dict[str, Any]:
        """See `Engine`."""
        return {**super().identity, "engine": self._name}

    @property
    def settings(self) -> dict[str, Any]:
        """See `Engine`."""
        return {**super().settings, "engine": self._name}

    @property
    def _name(self) -> str:
        return f"vllm {self.vllm.version}"

    def described(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        """See `Engine`.

        Raises:
            UsageError: as `describe_prompts`; or a repetition penalty and a detoxifier on logits, which vLLM has in
                another order.
        """
        if sampling.repetition_penalty != 1 and self.detoxifier is not None and self.detoxifier.kind == "decoding":
            raise UsageError(
                f"recipe: it has a repetition penalty, which vLLM puts before {self.detoxifier.method} and the recipe "
                "after it; leave --engine out, or take another recipe."
            )
        said = (
            f"Continuations were written by vLLM {self.vllm.version}. Given text (model perplexity, KL, text about "
            "groups) was read by transformers, with the same detoxifier."
        )
        return [*super().described(prompts, sampling), said]

    def write(self, prompts: Sequence[str], sampling: Sampling, batch_size: BatchSize, skip: int) -> Iterator[Written]:
        """See `Engine`; a sample's random numbers are its own, but others than transformers draws."""
        rows = batch_size if isinstance(batch_size, int) else TOGETHER
        order, size = planned(self.target, prompts)[skip:], max(1, rows // sampling.samples)
        ids = {i: encode(self.target, prompts[i], sampling.max_new_tokens) for i in order}
        longest = max((len(one) for one in ids.values()), default=0) + sampling.max_new_tokens
        each = sampling.samples * sampling.max_new_tokens
        # vLLM works in this process, on the first GPU where there is one; the target may be on a CPU beside it
        devices = {*self.target.devices, *([torch.device("cuda:0")] if torch.cuda.is_available() else [])}
        if order:
            self.vllm.started(self.target, longest, rows)
        with track("generating", len(prompts) * each, "tokens", done=skip * each) as advance:
            for start in range(0, len(order), size):
                part = order[start : start + size]
                began = time.perf_counter()
                memory.begin(*devices)
                written = self._continued([(prompts[i], ids[i]) for i in part], sampling)
                made = [
                    Generation(i, prompts[i], [text for text, _ in own], [kept for _, kept in own])
                    for i, own in zip(part, written, strict=True)
                ]
                lengths = [[len(kept) for kept in one.token_ids] for one in made]
                yield Written(made, lengths, time.perf_counter() - began, memory.peak(*devices) / 1e6)
                advance(len(part) * each)

    def _continued(
        self, prompts: Sequence[tuple[str, list[int]]], sampling: Sampling
    ) -> list[list[tuple[str, list[int]]]]:
        """Return of each prompt (text and tokens) the samples: text, and token ids without the end token."""
        ends, n = end_tokens(self.target), sampling.samples
        given = [ids for _, ids in prompts for _ in range(n)]
        params = [self._params(prompt, sample, sampling, ends) for prompt, _ in prompts for sample in range(n)]
        found = self.vllm.ask(given, params)
        texts = [self._kept(written, sampling, ends) for written in found]
        return [texts[start : start + n] for start in range(0, len(texts), n)]

    def _params(self, prompt: str, sample: int, sampling: Sampling, ends: list[int]) -> dict[str, Any]:
        acts = self.detoxifier is not None and self.detoxifier.kind == "decoding"
        return {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": int(stream(sampling.seed, sample, prompt).integers(2**31)),
            "repetition_penalty": sampling.repetition_penalty,
            "max_tokens": sampling.max_new_tokens,
            "stop_token_ids": ends,
            "stop": ["\n"] if sampling.one_line else None,
            "detokenize": sampling.one_line,  # to see a line's end
            "extra_args": {"strength": float(self.strength or 0.0)} if acts else None,
        }

    def _kept(self, ids: list[int], sampling: Sampling, ends: list[int]) -> tuple[str, list[int]]:
        """Return the text of what was written, and its tokens, as `detoxlm.generation` keeps them."""
        if ids and ids[-1] in ends:
            ids = ids[:-1]
        text = decode(self.target, ids)
        if sampling.one_line and "\n" in text:
            text = text.partition("\n")[0]
            if self.target.tokenizer.decode(ids[-1:], skip_special_tokens=True).startswith("\n"):
                ids = ids[:-1]  # a token with text before its line's end is kept
        return text, ids

    def close(self) -> None:
        """Stop vLLM."""
        self.vllm.close()
