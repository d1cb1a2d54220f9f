"""What a request is answered with that gets no text: an error in OpenAI's form."""

from __future__ import annotations

from typing import Any

from detoxlm.errors import UsageError
from detoxlm.serve.refusals import RefusedError


class ApiError(RefusedError):
    """A request that cannot be answered; `param` is the field that is wrong, `name` OpenAI's code."""

    def __init__(
        self,
        code: int,
        message: str,
        param: str | None = None,
        name: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Take the HTTP status and a line for people."""
        super().__init__(code, message, headers=headers)
        self.param, self.name = param, name


def form_of(error: RefusedError) -> dict[str, Any]:
    """Return the JSON object of the answer."""
    kind = "server_error" if error.code >= 500 else _KINDS.get(error.code, "invalid_request_error")
    param, name = getattr(error, "param", None), getattr(error, "name", None)
    return {"error": {"message": error.message, "type": kind, "param": param, "code": name}}


_KINDS = {401: "authentication_error", 429: "rate_limit_error"}


def wrong(param: str, message: str) -> ApiError:
    """Return the refusal of a value; the message begins with the field."""
    return ApiError(400, f"{param}: {message}", param, "invalid_value")


def refused(error: UsageError) -> ApiError:
    """Return the refusal of what our own code found wrong: its message begins with the field."""
    return ApiError(400, str(error), str(error).partition(":")[0], "invalid_value")


def model_failed() -> ApiError:
    """Return the answer to a request that the model gave no text for; it says no more, for others' sake."""
    return ApiError(500, "The model failed on this request. The server's log names the error.")
