"""Ask the Hub for a commit once and quickly, before transformers asks and retries for most of a minute."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from detoxlm.errors import UsageError, first_line


def hub_commit(repo: str, revision: str | None, *, field: str) -> str:
    """Return the commit of a revision, as the Hub says or, where it cannot or will not, its local cache.

    Args:
        repo: a Hub id, `owner/name`.
        revision: a branch, tag or commit; None: the default branch.
        field: the setting that named the repository, for error messages.

    Raises:
        UsageError: no such repository or revision, no access, or no network and nothing cached.
    """
    try:
        url = huggingface_hub.hf_hub_url(repo, "config.json", revision=revision)
        return huggingface_hub.get_hf_file_metadata(url).commit_hash or revision or "main"
    except HFValidationError as error:
        raise UsageError(f"{field}: {repo!r} is not a Hub id: {first_line(error)}") from error
    except Exception as error:  # the HTTP client's own error classes changed between versions of huggingface_hub
        cached = huggingface_hub.try_to_load_from_cache(repo, "config.json", revision=revision)
        if isinstance(cached, str):
            return Path(cached).parent.name  # …/snapshots/<commit>/config.json
        raise UsageError(f"{field}: {_reason(error, repo, revision)}") from error


def _reason(error: Exception, repo: str, revision: str | None) -> str:
    if isinstance(error, GatedRepoError):  # a kind of RepositoryNotFoundError
        return f"{repo!r} is gated. Accept its terms on the Hub and set HF_TOKEN, or run `hf auth login`."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo!r} has no revision {revision!r} on the Hub."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"no {repo!r} on the Hub (or it is private: set HF_TOKEN). Give a Hub id `owner/name`, a local folder or "
            "`embedded`; for a model also a .gguf file."
        )
    if isinstance(error, HfHubHTTPError):
        return f"{repo!r} on the Hub: {first_line(error)}"
    return (
        f"{repo!r} is no local folder and not in the Hub's local cache, and the Hub cannot be reached "
        f"({first_line(error)}). Without a network use `embedded` or a local folder."
    )
