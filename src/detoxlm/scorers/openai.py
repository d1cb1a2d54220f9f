"""OpenAI's moderation endpoint as a scorer.

The toxicity is the largest of four category scores: `harassment`, `harassment/threatening`, `hate` and
`hate/threatening`. They are what Perspective's "toxicity" is about: rude, hateful or threatening towards someone.
`violence`, `sexual`, `self-harm` and `illicit` are left out: they also rise for plain reports of such things, which
is not toxicity.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import httpx
import numpy as np
import tenacity

from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers.base import EMPTY_SCORE, Scorer

DEFAULT_MODEL = "omni-moderation-latest"
DEFAULT_URL = "https://api.openai.com/v1"
CATEGORIES = ("harassment", "harassment/threatening", "hate", "hate/threatening")
ATTEMPTS = 6
#: Seconds: the longest backoff, the longest `Retry-After` that is waited for, and the limit of one request.
LONGEST_BACKOFF = 60.0
LONGEST_RETRY_AFTER = 300.0
REQUEST_SECONDS = 30.0


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:12]


class _RetryableError(Exception):
    """A failure that another try may mend; `wait` is the server's `Retry-After` in seconds, 0 without one."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class OpenAIScorer(Scorer):
    """The largest of the `CATEGORIES` scores that the moderation endpoint gives, in [0, 1].

    The key is read from OPENAI_API_KEY alone and appears in no message, setting or result; OPENAI_BASE_URL replaces
    the address. Texts without visible characters are not sent and score 0. `*-latest` names may change under you: pin
    a dated model for results that must be comparable.
    """

    version = "1"
    batch_size = 32
    summary: ClassVar[str] = "OpenAI's moderation endpoint; needs OPENAI_API_KEY and the network"

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare a client; nothing is sent yet. `transport` and `sleep` stand in for network and time in tests.

        Raises:
            UsageError: OPENAI_API_KEY is not set or cannot be a key.
        """
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not key:
            raise UsageError("scorer: openai needs a key. Set the environment variable OPENAI_API_KEY.")
        if not (key.isascii() and key.isprintable() and " " not in key):
            # Caught here because the HTTP library would quote the key in its own error.
            raise UsageError("OPENAI_API_KEY: it holds characters that no key has. Copy the key again.")
        base = (os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL).rstrip("/")
        self.name = f"openai:{model}"
        # another server's model of this name is another scorer, for the cache and for comparisons
        self.revision = model if base == DEFAULT_URL.rstrip("/") else f"{model}@{_digest(base)}"
        self._model = model
        self._sleep = sleep
        self._url = base + "/moderations"
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"}, timeout=REQUEST_SECONDS, transport=transport
        )

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        scores = np.full(len(texts), EMPTY_SCORE)
        sent = [i for i, text in enumerate(texts) if text.strip()]
        if sent:
            # A lone surrogate cannot be encoded as UTF-8; it becomes "?".
            scores[sent] = self._ask([texts[i].encode("utf-8", "replace").decode() for i in sent])
        return scores

    def _ask(self, texts: list[str]) -> list[float]:
        backoff = tenacity.wait_exponential_jitter(initial=1, max=LONGEST_BACKOFF)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(backoff(state), error.wait if isinstance(error, _RetryableError) else 0.0)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_RetryableError),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._request, texts)
        except _RetryableError as error:
            raise DetoxError(
                f"scorer {self.name}: no answer after {ATTEMPTS} tries ({error}). Run again later."
            ) from None

    def _request(self, texts: list[str]) -> list[float]:
        try:
            response = self._client.post(self._url, json={"model": self._model, "input": texts})
        except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise _RetryableError(type(error).__name__) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UsageError(
                f"OPENAI_BASE_URL: {self._url} cannot be asked ({type(error).__name__}). Give an http(s) address."
            ) from None
        status = response.status_code
        if status in (401, 403):
            # The answer quotes part of the key, so it is not shown.
            raise UsageError(f"OPENAI_API_KEY: the server refused it (HTTP {status}). Set a valid key.")
        if status in (408, 409, 429) or status >= 500:
            raise _RetryableError(f"HTTP {status}", self._retry_after(response))
        if status != 200:
            raise DetoxError(
                f"scorer {self.name}: HTTP {status} from {self._url}. Check the model's name and OPENAI_BASE_URL."
            )
        return self._read(response, len(texts))

    def _retry_after(self, response: httpx.Response) -> float:
        """Return the seconds that the server asks to wait; its header holds seconds or a date."""
        text = response.headers.get("retry-after", "")
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - time.time()
            except ValueError:
                return 0.0
        if seconds > LONGEST_RETRY_AFTER:
            raise DetoxError(
                f"scorer {self.name}: the server asks to wait {seconds:.0f} s (a spent quota?). Run again later."
            )
        return max(0.0, seconds)

    def _read(self, response: httpx.Response, count: int) -> list[float]:
        try:
            results: list[Any] = response.json()["results"]
            scores = [max(float(r["category_scores"][name]) for name in CATEGORIES) for r in results]
        except (ValueError, KeyError, TypeError) as error:
            raise DetoxError(
                f"scorer {self.name}: the answer is not a moderation result ({type(error).__name__}). "
                "Check OPENAI_BASE_URL."
            ) from None
        if len(scores) != count:
            raise DetoxError(f"scorer {self.name}: {count} texts sent, {len(scores)} results came back.")
        return scores


def create(argument: str, device: str | None) -> Scorer:
    """Return the scorer of the specification `openai[:model]`; it uses no device of this machine."""
    return OpenAIScorer(argument or DEFAULT_MODEL)
