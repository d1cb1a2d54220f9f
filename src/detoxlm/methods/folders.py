"""What a detoxifier's folder holds: where it is, and its description, read whole or refused by field and file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from detoxlm.adapters import ADAPTER_CONFIG
from detoxlm.descriptions import check_fields, read_object
from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.hub import is_path

FORMAT = 2
CONFIG_FILE, WEIGHTS_FILE = "detoxifier.json", "model.safetensors"
#: What of a folder goes to the Hub, beside the files that CONFIG_FILE names: nothing that lies there by chance.
UPLOADED = [CONFIG_FILE, WEIGHTS_FILE, "README.md"]
#: What is fetched from there: no pickles.
_FETCHED = ["*.json", WEIGHTS_FILE, "README.md"]
#: What CONFIG_FILE has, and what it has of the target; and how to mend what has not.
_FIELDS = {"method": str, "settings": dict, "target": dict, "fitting": dict, "files": list}
_TARGET = {"name": str, "revision": str, "fingerprint": str, "architecture": str, "hidden_size": int, "vocab_size": int}
FIX = "take the file from a copy, or fit it again."


def found_folder(folder_or_repo: str, revision: str | None) -> Path:
    """Return the folder that is named, fetched from the Hub where need be.

    Raises:
        UsageError: no such folder, or one that holds no detoxifier.
        DetoxError: the Hub does not have it, or does not answer.
    """
    folder = Path(folder_or_repo).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"revision: {folder} is a folder, and revisions are of the Hub; leave it out.")
        if not (folder / CONFIG_FILE).is_file() and (folder / ADAPTER_CONFIG).is_file():
            raise UsageError(f"detoxifier: {folder} is a PEFT adapter, no detoxifier; give it in place of the model.")
        if not (folder / CONFIG_FILE).is_file():
            inner = folder / "detoxifier"  # where `run` puts it
            fix = (
                f"did you mean {inner}?"
                if (inner / CONFIG_FILE).is_file()
                else "`detoxlm fit METHOD MODEL -o DIR` makes one."
            )
            raise UsageError(f"detoxifier: {folder} has no {CONFIG_FILE}; {fix}")
        return folder
    if is_path(folder_or_repo) or folder_or_repo.count("/") != 1:
        raise UsageError(f"detoxifier: {folder} does not exist; `detoxlm fit METHOD MODEL -o DIR` makes one.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(folder_or_repo, revision=revision, allow_patterns=_FETCHED))
    except Exception as error:  # the Hub client's error classes differ between its versions
        raise DetoxError(f"detoxifier: {folder_or_repo} is no folder, and the Hub says: {first_line(error)}") from error


def read_description(file: Path) -> dict[str, Any]:
    """Return what a folder's CONFIG_FILE holds; raise `UsageError` where it is of another format, or not whole."""
    config = read_object(file, field="detoxifier", fix=FIX)
    check = partial(check_fields, file=file, field="detoxifier", fix=FIX)
    check(config, {"format": int})
    if config["format"] != FORMAT:  # others have other fields
        raise UsageError(f"detoxifier: {file.parent} has format {config['format']}; this version reads {FORMAT}.")
    check(config, _FIELDS, may_be_empty=("settings", "files"))
    target = config["target"]
    later = {"fingerprint_float16": str} if "fingerprint_float16" in target else {}  # the first ones had none
    check(target, _TARGET | later, inside="target.")
    return config


def recommended_in(config: dict[str, Any], folder: Path, largest: float) -> float | None:
    """Return the strength that a run recommended; None in folders that no run has measured, or of earlier versions."""
    if "recommended_strength" not in config:
        return None
    strength = config["recommended_strength"]
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= largest:
        raise UsageError(
            f"detoxifier: recommended_strength in {folder / CONFIG_FILE} is {strength!r}, not a number above 0 and at "
            f"most {largest:g}; `detoxlm run` writes it."
        )
    return float(strength)


def plain_name(name: str) -> str:
    """Return a file name from a folder that somebody else may have made; raise ValueError where it leads elsewhere."""
    if not name.replace("_", "").isalnum():
        raise ValueError(f"{name!r} is no plain file name")
    return name
