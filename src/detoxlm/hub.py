"""Ask the Hub for a commit once and quickly, before transformers asks and retries for most of a minute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from detoxlm.errors import UsageError, first_line

#: What a checkpoint or an adapter is made of: weights, configurations, tokenizer and card; no pickles, and nothing that
#: lies there by chance. Names, no `*.json`: the Hub's `*` fits what is in subfolders too, such as results with prompts.
MODEL_FILES = (
    *("README.md", "detoxlm.json", "config.json", "generation_config.json", "adapter_config.json"),
    *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
    f"model-{'[0-9]' * 5}-of-{'[0-9]' * 5}.safetensors",
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "spm.model", "spm_char.model"),
    *("sentencepiece.model", "sentencepiece.bpe.model", "emoji.json"),
    *("chat_template.jinja", "additional_chat_templates/*.jinja"),
)

#: What is replaced whole where something is pushed: a repository with parts of two kinds, such as an adapter beside a
#: checkpoint, would be loaded as the other.
_OURS = [*MODEL_FILES, "detoxifier.json", "calibrator_*.json", "target_tokenizer.json"]
#: One of these is in whatever DetoxLM, or PEFT, has written.
_WRITTEN = {"detoxlm.json", "detoxifier.json", "adapter_config.json"}


def is_path(name: str) -> bool:
    """Tell whether a name can only be a path, of Windows too, and no Hub id: `/a`, `./a`, `~/a`, `a/b/c`, `C:\\a`."""
    return name.startswith((".", "~", "/")) or "\\" in name or bool(re.match("[A-Za-z]:", name)) or name.count("/") > 1


def hub_file(repo: str, file: str, commit: str) -> Path | None:
    """Return a small file of a repository at a commit; None: it has none, or none that can be had now."""
    cached = huggingface_hub.try_to_load_from_cache(repo, file, revision=commit)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None or huggingface_hub.constants.HF_HUB_OFFLINE:  # known not to be there, or not to be known
        return None
    try:
        return Path(huggingface_hub.hf_hub_download(repo, file, revision=commit))
    except Exception:  # as below; whoever needs the file says what follows
        return None


def hub_commit(repo: str, revision: str | None, *, field: str, files: Sequence[str] = ("config.json",)) -> str:
    """Return the commit of a revision, as the Hub says or, where it cannot or will not, its local cache.

    Args:
        repo: a Hub id, `owner/name`.
        revision: a branch, tag or commit; None: the default branch.
        field: the setting that named the repository, for error messages.
        files: what it must have one of; the next is asked for where there is no first.

    Raises:
        UsageError: no such repository, revision or file, no access, or no network and nothing cached.
    """
    try:
        for file in files:
            try:
                url = huggingface_hub.hf_hub_url(repo, file, revision=revision)
                return huggingface_hub.get_hf_file_metadata(url).commit_hash or revision or "main"
            except RemoteEntryNotFoundError:
                continue
        raise UsageError(f"{field}: {repo!r} on the Hub has no {' or '.join(files)}; it is no model.")
    except UsageError:
        raise
    except HFValidationError as error:
        raise UsageError(f"{field}: {repo!r} is not a Hub id: {first_line(error)}") from error
    except Exception as error:  # the HTTP client's own error classes changed between versions of huggingface_hub
        for file in files:
            cached = huggingface_hub.try_to_load_from_cache(repo, file, revision=revision)
            if isinstance(cached, str):
                return Path(cached).parent.name  # …/snapshots/<commit>/config.json
        raise UsageError(f"{field}: {_reason(error, repo, revision)}") from error


def upload(folder: Path, repo: str, patterns: Sequence[str], *, private: bool = True, token: str | None = None) -> str:
    """Upload the files of a folder that any of the patterns fits; return the repository's address.

    What else of a detoxifier, a checkpoint or an adapter is there from before is deleted; other files stay.

    Args:
        folder: where they are.
        repo: a Hub id, `owner/name`; made where it is not there.
        patterns: of paths in the folder; `*` fits `/` too.
        private: whether only its owner may see a repository that is made.
        token: of the Hub; None takes HF_TOKEN or what `hf auth login` keeps.

    Raises:
        UsageError: the Hub does not take it, or the repository holds a model that DetoxLM has not written.
    """
    try:
        api = huggingface_hub.HfApi(token=token)
        url = api.create_repo(repo, private=private, exist_ok=True)
        there = set(api.list_repo_files(repo))
        if "config.json" in there and not there & _WRITTEN:
            raise UsageError(f"push: {repo!r} holds a model that DetoxLM has not written; choose another name.")
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=list(patterns), delete_patterns=_OURS)
    except UsageError:
        raise
    except Exception as error:  # the Hub client's error classes differ between its versions
        raise UsageError(
            f"push: the Hub did not take {repo!r}: {first_line(error)}. It needs a Hub id `owner/name` of yours "
            "and a token that may write: set HF_TOKEN, or run `hf auth login`."
        ) from error
    return str(url)


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
