"""Tiny random models of every architecture, a toy scorer, and the places where real data and the real model are."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICE
from distribution import Units, shape_of
from tokenizing import byte_tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
)

from detoxlm.cli import main
from detoxlm.models import EMBEDDED_PACKAGE, Target, load_target
from detoxlm.scorers.base import Scorer

VOCABULARY = 260  # 256 bytes, three special tokens, one row of padding
_COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
_WIDE = {
    **_COMMON,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    # random weights of the usual 0.02 make all logits alike; these make models that disagree with each other
    "initializer_range": 0.3,
}
_GPT = {
    **_COMMON,
    "n_embd": 32,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 128,
    "initializer_range": 0.3,
}
_OPT = {**_WIDE, "ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}
_OPT.pop("intermediate_size")
CONFIGS = {
    "llama": LlamaConfig(**_WIDE, num_key_value_heads=2, tie_word_embeddings=True),
    "mistral": MistralConfig(**_WIDE, num_key_value_heads=2, sliding_window=8),
    "qwen2": Qwen2Config(**_WIDE, num_key_value_heads=2),
    "gemma2": Gemma2Config(**_WIDE, num_key_value_heads=2, head_dim=8, sliding_window=8, final_logit_softcapping=5.0),
    "gemma3_text": Gemma3TextConfig(**_WIDE, num_key_value_heads=2, head_dim=8, sliding_window=8),
    "gpt2": GPT2Config(**_GPT),
    "opt": OPTConfig(**_OPT),
    "gptj": GPTJConfig(**_GPT, rotary_dim=4),
    "gpt_neox": GPTNeoXConfig(**_WIDE),
    "phi": PhiConfig(**_WIDE),
}


def write_tiny_model(kind: str, folder: Path, seed: int = 0) -> Path:
    """Save a random model of an architecture with the byte tokenizer, and return its folder."""
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(CONFIGS[kind]).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return `tiny_folder(kind, seed=0)`: the folder of a tiny random model, made once a session."""
    made: dict[tuple[str, int], Path] = {}

    def folder(kind: str, seed: int = 0) -> Path:
        if (kind, seed) not in made:
            made[kind, seed] = write_tiny_model(kind, tmp_path_factory.mktemp(f"{kind}-{seed}"), seed)
        return made[kind, seed]

    return folder


@pytest.fixture
def tiny(tiny_folder: Callable[..., Path]) -> Callable[..., Target]:
    """Return `tiny(kind, seed=0, **options)`: a freshly loaded tiny target, so that tests cannot disturb each other."""

    def load(kind: str = "llama", seed: int = 0, **options: str) -> Target:
        return load_target(str(tiny_folder(kind, seed)), device=DEVICE, **{"dtype": "float32", **options})

    return load


class LetterScorer(Scorer):
    """Toxicity = share of the letter `e`: cheap, deterministic, and different for different texts."""

    name, version, revision = "letters", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([text.count("e") / max(1, len(text)) for text in texts])


@pytest.fixture
def letter_scorer() -> LetterScorer:
    """A toy scorer."""
    return LetterScorer()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of third-party data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DETOXLM_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"third-party data not found: {folder} (set DETOXLM_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def embedded() -> Target:
    """The real embedded model, read-only; tests that need it are skipped where the package is absent."""
    try:
        metadata.version(EMBEDDED_PACKAGE)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{EMBEDDED_PACKAGE} is not installed; `make setup` installs it")
    return load_target("embedded", device=DEVICE, dtype="float32")


@pytest.fixture(autouse=True)
def where_commands_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that name no device take the tests' own, and its numbers are comparable with those of `tiny`."""
    monkeypatch.setenv("DETOXLM_DEVICE", DEVICE)
    monkeypatch.setenv("DETOXLM_DTYPE", "float32")


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Run the command line in this process; what is printed is captured as ever."""

    def run(arguments: list[str]) -> None:
        monkeypatch.setattr("sys.argv", ["detoxlm", *arguments])
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, f"exit {stop.code}"

    return run


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return `call(*arguments)` -> (exit code, stdout, stderr), in this process."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["detoxlm", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at a training cost more than training a tiny model; these take a tenth of the time."""
    for name, value in (("SAMPLES", 1), ("ANSWER", 2), ("NEUTRAL", 64)):
        monkeypatch.setattr(f"detoxlm.methods.training.watch.{name}", value)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Return `write(name, content)`: writes text, bytes, or rows as JSON lines to a file of the test's own."""

    def write_file(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep tests together that share fits."""
    units = Units(config, log)
    units.shapes = CONFIGS
    return units


#: The architectures of `make test`: rotary and learned positions, tied heads, capped logits. Others are `more`.
USUAL = {"llama", "gpt2", "gemma2"}


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files whose tests take minutes, or one process would end with them while the others have none left."""
    items.sort(key=lambda item: item.path.name not in ("test_embedded.py", "test_docs.py", "test_training.py"))
    for item in items:
        if shape_of(item.nodeid, CONFIGS) not in {None, *USUAL}:
            item.add_marker(pytest.mark.more)
