"""Models out of GGUF files, as safetensors in the cache folder: made once, kept by content, listed and cleared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

from detoxlm.architecture import FAMILIES
from detoxlm.errors import DetoxError, UsageError, did_you_mean, first_line
from detoxlm.files import cache_dir, folder_written_atomically
from detoxlm.loading import check_complete, quiet_transformers, tensors_counted

log = logging.getLogger(__name__)

#: Part of a converted folder's name: raise it when the conversion below changes.
_CONVERSION = 1
#: The file by which a folder of the cache says what it was made of; its time is when the model was last used.
_ORIGIN = "origin.json"
#: `<the file's name>-<its content>-<the conversion>`, with a dot before and more behind while it is written.
_NAME = re.compile(r".*-(?P<key>[0-9a-f]{12}-\d+)(\..+)?", re.DOTALL)


@dataclass(frozen=True)
class CachedModel:
    """One converted model in the cache."""

    name: str
    source: str  # the GGUF file that it was made of
    bytes: int  # on disk
    last_used: float  # seconds since the epoch
    folder: Path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def converted(gguf: Path, sha256: str) -> Path:
    """Return a safetensors folder of the GGUF model, made once: reading GGUF takes half a minute, this one second.

    Copies of one file, under whatever names, share a folder.

    Args:
        gguf: the file.
        sha256: of its content.

    Raises:
        UsageError: the cache folder cannot be made, the package gguf is missing, or the file lacks weights.
        DetoxError: the file cannot be read, or the disk is full.
    """
    key = f"{sha256[:12]}-{_CONVERSION}"
    folder = next(_folders(key), None)
    if folder is None:
        folder = _made(gguf, sha256, key)
    with contextlib.suppress(OSError):  # a cache that may be read only
        os.utime(folder / _ORIGIN)
    return folder


def _made(gguf: Path, sha256: str, key: str) -> Path:
    """Convert the file; only this needs a lock, and a cache that can be written."""
    lock = _lock(key)
    try:
        _models().mkdir(parents=True, exist_ok=True)
        lock.acquire()  # two processes that start at once: the second waits here and then finds the folder
    except OSError as error:
        raise UsageError(f"DETOXLM_CACHE: cannot write to {_models()}: {error.strerror}; set another.") from error
    try:
        folder = next(_folders(key), None)
        if folder is None:
            folder = _models() / f"{gguf.stem.lstrip('.')}-{key}"
            log.warning("model: converting %s to safetensors, once (about half a minute) …", gguf.name)
            _convert(gguf, sha256, folder)
            log.warning(
                "model: it takes %s in %s; `detoxlm cache list` shows it, `detoxlm cache clear` frees it.",
                size_shown(_bytes_in(folder)),
                folder,
            )
    finally:
        lock.release()
    return folder


def size_shown(count: int) -> str:
    """Return a number of bytes as people read it: `517 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count:,} bytes"


def cached_models() -> list[CachedModel]:
    """Return the converted models of the cache, the last used first."""
    found = []
    for folder in _folders():
        origin = folder / _ORIGIN
        try:
            source, used = json.loads(origin.read_text("utf-8"))["source"], origin.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):  # damaged: all the more a thing to see and clear
            source, used = "?", folder.stat().st_mtime
        found.append(CachedModel(folder.name, str(source), _bytes_in(folder), used, folder))
    return sorted(found, key=lambda model: -model.last_used)


def clear_cache(name: str | None = None) -> list[CachedModel]:
    """Delete converted models, and what killed conversions have left; return the models that were deleted.

    Args:
        name: of one model, as `cached_models` has it; None: all.

    Raises:
        UsageError: there is no such model.
        DetoxError: one is being converted now, or cannot be deleted.
    """
    known = cached_models()
    chosen = [model for model in known if name in (None, model.name)]
    if name is not None and not chosen:
        names = [model.name for model in known]
        listed = f"there are: {', '.join(names)}" if names else f"{_models()} has none"
        raise UsageError(f"cache: no converted model {name!r}.{did_you_mean(name, names)} Now {listed}.")
    left = [path for path in _entries() if path.name.startswith(".")]
    for path in [model.folder for model in chosen] + (left if name is None else []):
        match = _NAME.fullmatch(path.name)
        assert match is not None  # as all entries have it
        try:
            with _lock(match["key"], timeout=0):
                shutil.rmtree(path)
        except Timeout:
            raise DetoxError(f"cache: {path.name} is being converted by another process; try again later.") from None
        except OSError as error:
            raise DetoxError(f"cache: cannot delete {path}: {error.strerror}.") from error
    return chosen


def _models() -> Path:
    return cache_dir() / "models"


def _lock(key: str, timeout: float = -1) -> FileLock:
    return FileLock(_models() / f"{key}.lock", timeout=timeout)


def _entries() -> Iterator[Path]:
    """Every folder of converted models, half-made ones too."""
    if _models().is_dir():
        yield from (path for path in sorted(_models().iterdir()) if path.is_dir() and _NAME.fullmatch(path.name))


def _folders(key: str | None = None) -> Iterator[Path]:
    """The whole ones, of one content or of all."""
    for path in _entries():
        match = _NAME.fullmatch(path.name)
        if match and not path.name.startswith(".") and key in (None, match["key"]):
            yield path


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check_architecture(gguf: Path, reader: Any) -> None:
    """Refuse a file from its header where its architecture is none that transformers reads from GGUF and we know."""
    try:
        field = reader(gguf).get_field("general.architecture")
        kind = str(field.contents())
    except Exception as error:  # what damaged files raise is no closed set
        raise DetoxError(f"model: cannot read the GGUF file {gguf}: {first_line(error)}") from error
    known = sorted(set(FAMILIES) & set(GGUF_SUPPORTED_ARCHITECTURES))
    if kind not in known:
        raise UsageError(
            f"model: {gguf} is of architecture {kind!r}, which is not supported in GGUF. Known: {', '.join(known)}; of "
            "others give the folder in safetensors."
        )


def _convert(gguf: Path, sha256: str, folder: Path) -> None:
    try:
        from gguf import GGUFReader  # transformers' reader needs it too, and says so only in a long trace
    except ImportError:
        raise UsageError("model: reading GGUF needs the package gguf: pip install 'detoxlm[embedded]'.") from None
    _check_architecture(gguf, GGUFReader)
    with quiet_transformers(), tensors_counted():
        try:
            # float32 first: bf16 and f16 loads then round the same values, whatever was cached
            loaded, loading = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent),
                gguf_file=gguf.name,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, local_files_only=True)
        except Exception as error:  # what damaged files raise is no closed set
            raise DetoxError(f"model: cannot read the GGUF file {gguf}: {first_line(error)}") from error
        check_complete(gguf.name, loading)
        # transformers refuses to save a GGUF-loaded model: rebuild it from its config and give it the weights
        settings = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
        plain = type(loaded)(type(loaded.config)(**settings))
        plain.load_state_dict(loaded.state_dict())
        plain.generation_config = loaded.generation_config
        with folder_written_atomically(folder) as temporary:
            plain.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            origin = {"source": str(gguf.absolute()), "sha256": sha256}
            (temporary / _ORIGIN).write_text(json.dumps(origin, indent=1), encoding="utf-8")
