"""Any text-classification model of the Hugging Face Hub, or of a local folder, as a scorer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors import SafetensorError

from detoxlm.errors import UsageError, first_line
from detoxlm.progress import waiting
from detoxlm.scorers.base import Scorer

#: Used when neither the tokenizer nor the configuration names a maximum length.
DEFAULT_TOKENS = 512


def parse(argument: str) -> tuple[str, str | None, str | None]:
    """Split `<repo or folder>[@revision][#label]` into its parts.

    A folder that exists is taken whole, so its name may hold `@` and `#`.
    """
    if Path(argument).is_dir():
        return argument, None, None
    model, _, label = argument.partition("#")
    for at in range(len(argument)):
        if argument[at] == "#" and Path(argument[:at]).is_dir():
            model, label = argument[:at], argument[at + 1 :]
    if Path(model).is_dir():
        return model, None, label or None
    model, _, revision = model.partition("@")
    return model, revision or None, label or None


class HubScorer(Scorer):
    """The probability of one label of a text-classification model.

    Softmax models give the label's probability; multi-label and one-logit models its sigmoid; regression models
    (`problem_type: regression`) their value clipped to [0, 1]. Texts longer than the model allows are cut at the end.
    Weights are read from safetensors only, and no code of the repository is run.
    """

    batch_size = 32
    summary: ClassVar[str] = "any text-classification model from the Hub or a local folder (safetensors only)"

    def __init__(
        self, model: str, revision: str | None = None, label: str | None = None, device: str | None = None
    ) -> None:
        """Load the model.

        Args:
            model: a Hub repository (`owner/name`) or a local folder.
            revision: a branch, tag or commit of the repository; None: its default branch.
            label: the label that means toxic, as the model's configuration spells it; may be None with one label.
            device: a torch device; None: a GPU when there is one.

        Raises:
            UsageError: no such model, revision, device or label; no safetensors; or not a text classifier.
        """
        import torch

        from detoxlm.hub import hub_commit, is_path

        self._torch = torch
        model = str(Path(model).expanduser()) if model.startswith("~") else model
        folder = Path(model)
        if revision is not None and folder.is_dir():
            raise UsageError(f"scorer: {model} is a folder, and revisions are of the Hub; leave @{revision} out.")
        if model and not folder.is_dir():
            if is_path(model):
                raise UsageError(
                    f"scorer: the folder {model} does not exist. Write hub:<repo or folder>[@revision][#label]."
                )
            revision = hub_commit(model, revision, field="scorer")  # the very commit is loaded, and recorded
        config, self._tokenizer, self._model = _load(model, revision)
        labels = [str(config.id2label[i]) for i in range(config.num_labels)]
        self._index = _find_label(model, labels, label)
        self._kind = _kind(config)
        self._max_tokens = _max_tokens(self._tokenizer, config, self._model)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        # Decoder classifiers read the last token that is not padding, so the model must know the padding.
        self._model.config.pad_token_id = self._tokenizer.pad_token_id
        try:
            self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self._model.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device: {device!r} cannot be used: {first_line(error)}. Try cpu.") from None
        self.name = f"hub:{folder.resolve().name if folder.is_dir() else model}#{labels[self._index]}"
        self.version = "1"
        self.revision = _folder_hash(folder) if folder.is_dir() else str(revision)

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        # Some tokenizers turn "" into no token at all, which no model accepts; a space is the nearest text.
        batch = self._tokenizer(
            [text or " " for text in texts],
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        with self._torch.inference_mode():
            logits = self._model(**batch.to(self.device)).logits.float()
        if self._kind == "softmax":
            scores = logits.softmax(dim=-1)[:, self._index]
        elif self._kind == "sigmoid":
            scores = logits[:, self._index].sigmoid()
        else:
            scores = logits[:, self._index].clamp(0, 1)
        return np.asarray(scores.double().cpu().numpy())


def _load(model: str, revision: str | None) -> tuple[Any, Any, Any]:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from detoxlm.files import refuse_pointers
    from detoxlm.loading import lacking, quiet_transformers
    from detoxlm.preflight import check_has_tokenizer, check_vocabulary, rows_of

    where = f"{model}@{revision}" if revision else model
    if not model:
        raise UsageError("scorer: hub names no model. Write hub:<repo or folder>[@revision][#label].")
    if Path(model).is_dir():
        refuse_pointers("scorer", Path(model))
        check_has_tokenizer(model, "scorer")
    try:
        with quiet_transformers(), waiting(f"loading hub:{where}"):
            config = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
            # float32 whatever the file holds: half precision moves scores by up to 0.01 and is slow on CPUs.
            network, info = AutoModelForSequenceClassification.from_pretrained(
                model,
                revision=revision,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                dtype="float32",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
            )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise UsageError(
                f"scorer: hub:{where} brings code of its own, which a scorer never runs. Choose a model of an "
                "architecture that transformers knows."
            ) from None
        raise UsageError(
            f"scorer: hub:{where} cannot be loaded: {first_line(error)} Check the name (owner/name or a folder), the "
            "revision and the network; the model must be a text classifier stored as safetensors."
        ) from None
    if without := lacking(info):
        raise UsageError(
            f"scorer: hub:{where} is no trained text classifier: its weights lack {without[0]}, or have it in another "
            "shape than config.json says. Choose a fine-tuned model."
        )
    check_vocabulary(tokenizer, rows_of(config.to_dict()), f"hub:{where}", "scorer")
    return config, tokenizer, network


def _find_label(model: str, labels: list[str], label: str | None) -> int:
    listed = ", ".join(labels)
    if label is None:
        if len(labels) == 1:
            return 0
        raise UsageError(
            f"scorer: hub:{model} has several labels; say which means toxic: hub:{model}#<label>, one of: {listed}."
        )
    matches = [i for i, name in enumerate(labels) if name == label] or [
        i for i, name in enumerate(labels) if name.casefold() == label.casefold()
    ]
    if len(matches) != 1:
        raise UsageError(f"scorer: hub:{model} has no label {label!r}. Its labels: {listed}.")
    return matches[0]


def _kind(config: Any) -> str:
    if config.problem_type == "regression":
        return "regression"
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"


def _max_tokens(tokenizer: Any, config: Any, network: Any) -> int:
    """Return the longest input in tokens; some tokenizers do not know it and say 10^30."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < 10**9 else []
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # RoBERTa numbers its positions from padding_idx + 1, so that many rows of the table are never used.
        unused = 0
        for name, module in network.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                unused = module.padding_idx + 1
        limits.append(int(positions) - unused)
    return min(limits, default=DEFAULT_TOKENS)


def _folder_hash(folder: Path) -> str:
    """Return a hash of everything in a local model that decides a score: weights, configuration, tokenizer."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".json", ".txt", ".model"):
            with path.open("rb") as file:
                total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def create(argument: str, device: str | None) -> Scorer:
    """Return the scorer of the specification `hub:<repo or folder>[@revision][#label]`."""
    model, revision, label = parse(argument)
    return HubScorer(model, revision, label, device)
