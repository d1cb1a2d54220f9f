"""JSON over HTTP, with a key: asked again where that may mend a failure, and never with the key in a message."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import tenacity

from detoxlm.errors import DetoxError, UsageError

ATTEMPTS = 6
#: Seconds: the longest backoff, the longest `Retry-After` that is waited for, and the limit of one request.
LONGEST_BACKOFF = 60.0
LONGEST_RETRY_AFTER = 300.0
REQUEST_SECONDS = 30.0


class RefusedError(DetoxError):
    """The server understood, and will not: another try would not help."""

    def __init__(self, who: str, status: int, said: str) -> None:
        """Take who asked, the status, and the server's own words, "" without any."""
        super().__init__(f"{who}: HTTP {status}{f': {said}' if said else ''}")
        self.status, self.said = status, said


class _RetryableError(Exception):
    """A failure that another try may mend; `wait` is the server's `Retry-After` in seconds, 0 without one."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def key_in(variable: str) -> str | None:
    """Return the key that an environment variable holds; None: it is not set.

    Raises:
        UsageError: it cannot be a key.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        # Caught here because the HTTP library would quote the key in its own error.
        raise UsageError(f"{variable}: it holds characters that no key has. Copy the key again.")
    return key or None


class Api:
    """A server that is asked by POST. Threads may share one."""

    def __init__(
        self,
        who: str,
        base: str,
        *,
        named_by: str,
        key_variable: str,
        key: str | None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            who: asks, in words for messages, such as `scorer openai:m`.
            base: the address, without a slash at its end.
            named_by: the setting or environment variable that the address comes from.
            key_variable: the environment variable that the key comes from.
            key: sent as a bearer token; None: none is.
            transport: stands in for the network in tests, and `sleep` for time.
            sleep: waits so many seconds.
            seconds: the limit of one request.
        """
        self._who, self._base, self._named_by, self._key_variable = who, base, named_by, key_variable
        self._sleep, self._key = sleep, key
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(headers=headers, timeout=seconds, transport=transport)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Return the answer, of status 200.

        Raises:
            UsageError: the address cannot be asked, or the key is refused.
            RefusedError: the server refuses the request.
            DetoxError: no answer after `ATTEMPTS` tries, or one is to wait too long.
        """
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
            return retrying(self._once, self._base + path, body)
        except _RetryableError as error:
            raise DetoxError(f"{self._who}: no answer after {ATTEMPTS} tries ({error}). Run again later.") from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _once(self, url: str, body: dict[str, Any]) -> httpx.Response:
        try:
            response = self._client.post(url, json=body)
        except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise _RetryableError(type(error).__name__) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UsageError(
                f"{self._named_by}: {url} cannot be asked ({type(error).__name__}). Give an http(s) address."
            ) from None
        status = response.status_code
        if status in (401, 403):
            # The answer quotes part of the key, so it is not shown.
            raise UsageError(f"{self._key_variable}: the server refused it (HTTP {status}). Set a valid key.")
        if status in (408, 409, 429) or status >= 500:
            raise _RetryableError(f"HTTP {status}", self._retry_after(response))
        if status != 200:
            said = _words(response)
            raise RefusedError(self._who, status, said.replace(self._key, "…") if self._key else said)
        return response

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
            raise DetoxError(f"{self._who}: the server asks to wait {seconds:.0f} s (a spent quota?). Run again later.")
        return max(0.0, seconds)


def _words(response: httpx.Response) -> str:
    """Return what a server says of its refusal, a line of 300 characters at most; "" where it says nothing."""
    try:
        found = response.json()
        found = found.get("error", found)
        said = found.get("message", "") if isinstance(found, dict) else found
    except (ValueError, AttributeError):
        return ""
    return " ".join(said.split())[:300].rstrip(".") if isinstance(said, str) else ""
