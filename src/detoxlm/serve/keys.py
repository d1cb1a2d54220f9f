"""The keys that a server asks for, if it asks for any."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from detoxlm.errors import UsageError
from detoxlm.serve.refusals import key_refused


class Keys:
    """API keys, of which a request has to bring one."""

    def __init__(self, keys: list[str]) -> None:
        """Take the keys; what is kept are their digests, which all are of one length."""
        self._digests = [_digest(key) for key in keys]

    def has(self, key: str) -> bool:
        """Tell whether it is one of them."""
        given = _digest(key)
        # all are compared, each in constant time: how long it takes tells nothing of a key
        return sum(hmac.compare_digest(given, one) for one in self._digests) > 0

    def check(self, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Look for a key where Google's clients put it: `?key=`, `X-Goog-Api-Key`, or a bearer token.

        Raises:
            RefusedError: there is none, or it is not one of ours.
        """
        scheme, _, token = (headers.get("authorization") or "").partition(" ")
        key = query.get("key") or headers.get("x-goog-api-key") or (token if scheme.lower() == "bearer" else "")
        if not key:
            raise key_refused("The request is missing a valid API key.", "CREDENTIALS_MISSING")
        if not self.has(key):
            raise key_refused("API key not valid. Please pass a valid API key.", "API_KEY_INVALID")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.strip().encode("utf-8", "surrogatepass")).digest()


def read_keys(path: Path | None) -> Keys | None:
    """Return the keys of a file, one a line; empty lines and those that begin with # are passed over.

    Raises:
        UsageError: it cannot be read, or has no key: a server that was to ask for one must not open to all.
    """
    if path is None:
        return None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UsageError(f"api-key-file: cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"api-key-file: {path} is not UTF-8 text; write a key a line.") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UsageError(f"api-key-file: {path} has no key; write a key a line, or leave --api-key-file out.")
    return Keys(keys)
