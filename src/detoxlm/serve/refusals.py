"""What a request is answered with that gets no score: an error in Google's JSON form, with its codes and types."""

from __future__ import annotations

from typing import Any

#: The type of the API's own error details, as its clients know it.
_API_ERROR = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
#: Google's name of each HTTP status that is used here.
STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
#: Characters of a request's own names and values that a message repeats.
SHOWN = 100


class RefusedError(Exception):
    """A request that cannot be answered with scores."""

    def __init__(
        self,
        code: int,
        message: str,
        details: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Take the HTTP status, one of `STATUS`, a line for people, and the details for programs."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON object of the answer."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": STATUS[self.code]}
        if self.details:
            error["details"] = self.details
        return {"error": error}


def shown(value: object) -> str:
    """Return a request's own value as messages repeat it: on one line, and no longer than `SHOWN`."""
    text = "".join(c if c.isprintable() else "�" for c in str(value))
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def api_error(message: str, error_type: str = "INVALID_REQUEST", **more: Any) -> RefusedError:
    """Return the refusal of a request that is well formed, by the API's own error type."""
    return RefusedError(400, message, [{"@type": _API_ERROR, "errorType": error_type, **more}])


def malformed(field: str, description: str) -> RefusedError:
    """Return the refusal of a request that is no such message; `field` is the path to what is wrong."""
    violation = {"description": description} if not field else {"field": field, "description": description}
    return RefusedError(
        400, description, [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}]
    )


def key_refused(message: str, reason: str) -> RefusedError:
    """Return the refusal of a request without a good key; clients read Google's name of the reason."""
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return RefusedError(403, message, [{"@type": kind, "reason": reason, "domain": "googleapis.com"}])


def scorer_failed() -> RefusedError:
    """Return the answer to texts that a scorer gave no score for.

    It says no more than that: a scorer's own message may hold a text, and of a batch it may be another client's.
    """
    return RefusedError(
        500, "The scorer failed on this request, so there is no score. The server's log names the error."
    )
