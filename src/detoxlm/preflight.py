"""What is wrong with a model's folder, said in a line before its weights are read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers import __version__ as VERSION
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from detoxlm.architecture import FAMILIES
from detoxlm.errors import UsageError, first_line
from detoxlm.files import refuse_pointers
from detoxlm.hub import hub_file
from detoxlm.loading import quiet_transformers

#: Files that hold a tokenizer's vocabulary; a folder that has none of them has no tokenizer.
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
#: Tokens that need no embedding: of a picture or a sound, as the text-only models of Gemma 3 have one; and the one that
#: transformers adds to tokenizers of GGUF files, where it has no part such as the end of text.
_NO_TEXT, _OF_TRANSFORMERS = re.compile("image|audio|video"), "<|endoftext|>"


def check_folder(path: str, revision: str, name: str, *, trust_remote_code: bool) -> dict[str, Any]:
    """Return a model's configuration, which is one of a causal LM.

    Args:
        path: a folder, or a Hub id.
        revision: the commit on the Hub.
        name: what the user calls the model.
        trust_remote_code: whether the user lets its own code run.

    Returns:
        what config.json holds; empty where it cannot be had, for transformers to say why.

    Raises:
        UsageError: Git LFS pointers, no safetensors, no causal LM, an architecture that transformers does not
            know, or code of its own that the user does not trust.
    """
    folder = Path(path)
    if folder.is_dir():
        refuse_pointers("model", folder)
        if not any(folder.glob("*.safetensors")):
            raise UsageError(
                f"model: the folder {path} has no .safetensors file. Pickled weights are never loaded: convert them "
                "with `model.save_pretrained(folder)`."
            )
    file = folder / "config.json" if folder.is_dir() else hub_file(path, "config.json", revision)
    if file is None:
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"model: cannot load {name!r}: {file} is not JSON: {first_line(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UsageError(f"model: cannot load {name!r}: {file} names no model_type; give a folder of transformers.")
    _check_kind(config, name, trust_remote_code)
    return config


def _check_kind(config: dict[str, Any], name: str, trust_remote_code: bool) -> None:
    kind, classes = config["model_type"], [str(one) for one in config.get("architectures") or []]
    shown = ", ".join(classes) or kind
    if config.get("is_encoder_decoder") or (classes and not any(_is_causal(one, kind) for one in classes)):
        scorer = any(one.endswith("ForSequenceClassification") for one in classes)
        hint = f" As a scorer: --scorer hub:{name}#LABEL." if scorer else ""
        raise UsageError(
            f"model: {name!r} is no causal language model: its config.json says {shown}{_sort_of(config, classes)}. "
            f"Give one that generates text from left to right.{hint}"
        )
    if config.get("auto_map") and kind not in FAMILIES:
        if not trust_remote_code:
            raise UsageError(
                f"model: {name!r} ({shown}) brings code of its own, which is run only with --trust-remote-code; read "
                "it first."
            )
    elif kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UsageError(
            f"model: architecture {kind!r} ({shown} in {name}) has no causal language model in transformers {VERSION}; "
            "a newer one may: pip install -U transformers."
        )


def _sort_of(config: dict[str, Any], classes: list[str]) -> str:
    """Return what a model is that is no causal LM, as the end of a clause; empty where it is not plain."""
    if config.get("is_encoder_decoder"):
        return ", an encoder-decoder"
    if any(re.search("Image|Vision|Vi[Tt]|CLIP|Audio|Speech", one) for one in classes):
        return ", which writes no text"
    if any("For" not in one or one.endswith(("ForMaskedLM", "ForPreTraining")) for one in classes):
        return ", which reads text (an embedding model) and writes none"
    return ""


def reads_pictures(kind: str) -> bool:
    """Tell whether a model type is of those that write about pictures, and is no causal LM by itself."""
    return kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def _is_causal(class_name: str, kind: str) -> bool:
    """Tell whether a class is a causal LM; of a bare one (`LlamaModel`) of such a family the weights will tell."""
    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    known = {one for names in names for one in ([names] if isinstance(names, str) else names)}
    writes = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    bare = (kind in FAMILIES or writes) and "For" not in class_name
    about_pictures = class_name.endswith("ForConditionalGeneration") and (writes or reads_pictures(kind))
    return bare or about_pictures or class_name in known or class_name.endswith(("ForCausalLM", "LMHeadModel"))


def load_tokenizer(path: str, revision: str, name: str, *, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer.

    Raises:
        UsageError: there is none, it is damaged, or it has code of its own that the user does not trust.
    """
    check_has_tokenizer(path)
    try:
        with quiet_transformers():
            found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                path, revision=revision, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # what damaged files raise is no closed set; tokenizers raises plain Exception
        raise cannot_load(f"the tokenizer of {name!r}", error) from error
    return found


def check_has_tokenizer(path: str, field: str = "model") -> None:
    """Raise `UsageError`, which calls the model as `field` does, where a folder is no tokenizer's."""
    if Path(path).is_dir() and not has_tokenizer(Path(path)):
        raise UsageError(
            f"{field}: the folder {path} has no tokenizer: none of {', '.join(_VOCABULARIES)} is there. Copy the "
            "model's own into it: `tokenizer.save_pretrained(folder)`."
        )


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a folder has a tokenizer's files."""
    return any((folder / file).is_file() for file in _VOCABULARIES) or any(folder.glob("*.tiktoken"))


def cannot_load(what: str, error: Exception) -> UsageError:
    """Return the error for what transformers cannot load, in one line; code of its own is named as the reason."""
    if "trust_remote_code" in str(error):
        return UsageError(
            f"model: cannot load {what}: it brings code of its own, which is run only with --trust-remote-code; read "
            "it first."
        )
    return UsageError(f"model: cannot load {what}: {first_line(error).rstrip(':')}")


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int | None, name: str, field: str = "model") -> None:
    """Refuse a tokenizer that has tokens for which the model has no embedding.

    Args:
        tokenizer: of the model.
        rows: of the model's input embeddings; None: not known yet.
        name: what the user calls the model.
        field: the setting that named it.

    Raises:
        UsageError: it has; names the tokens and how to make room for them.
    """
    if rows is None:
        return
    outside = [token for token, i in tokenizer.get_vocab().items() if i >= rows and not _NO_TEXT.search(token)]
    if outside == [_OF_TRANSFORMERS] and _OF_TRANSFORMERS not in tokenizer.all_special_tokens:
        return
    if outside:
        shown = ", ".join(sorted(outside)[:3]) + (", …" if len(outside) > 3 else "")
        raise UsageError(
            f"{field}: the tokenizer of {name!r} has {len(outside)} tokens ({shown}) beyond the model's {rows:,} "
            "embeddings. Add them to the model too, `model.resize_token_embeddings(len(tokenizer))`, train them and "
            "save both; or take the tokenizer without them."
        )


def rows_of(config: dict[str, Any]) -> int | None:
    """Return how many embeddings a configuration says that its model has; None: it does not say."""
    inner = config.get("text_config")
    rows = (inner if isinstance(inner, dict) else config).get("vocab_size")
    return rows if isinstance(rows, int) else None
