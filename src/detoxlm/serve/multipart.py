"""Google's batch form: requests and answers as the parts of one multipart/mixed body, each an HTTP message."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from http import HTTPStatus
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from detoxlm.serve.refusals import RefusedError

#: Parts of one batch, as Google's client has it too.
MOST_PARTS = 1000
#: Between the parts of an answer; a part's JSON is escaped ASCII without line breaks, so it cannot hold it.
BOUNDARY = "batch_detoxlm"
#: Characters of a Content-ID. HELM names a request by its whole text, and Google's client escapes that: a character of
#: four bytes has twelve.
_LONGEST_IDENTITY = 250_000
_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\s*")


@dataclass(frozen=True)
class Part:
    """One request of a batch."""

    #: Its Content-ID, which the answer's repeats; None: it has none that can be repeated.
    identity: str | None
    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """Return the requests of a batch.

    Raises:
        RefusedError: the body is no such batch, or has more than `MOST_PARTS`.
    """
    header = Message()
    header["Content-Type"] = re.sub(r"[\r\n]", " ", content_type)
    boundary = header.get_param("boundary")
    if header.get_content_maintype() != "multipart" or not isinstance(boundary, str) or not boundary:
        raise RefusedError(400, "A batch is a body of multipart/mixed, and its Content-Type names a boundary.")
    lines = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?:\r?\n|$)")
    found = list(lines.finditer(body))
    if len(found) < 2 or not found[-1][1]:
        raise RefusedError(400, "The batch is cut short: its last boundary is missing.")
    if len(found) - 1 > MOST_PARTS:
        raise RefusedError(400, f"A batch has at most {MOST_PARTS} requests; this one has {len(found) - 1}.")
    return [
        _part(body[before.end() : after.start()], number) for number, (before, after) in enumerate(pairwise(found), 1)
    ]


def _part(content: bytes, number: int) -> Part:
    outer, inner = _message(content)
    first, _, rest = inner.lstrip().partition(b"\n")
    line = _REQUEST.fullmatch(first)
    if line is None:
        raise RefusedError(400, f"Part {number} of the batch does not begin with a request line.")
    headers, body = _message(rest)
    try:
        target = urlsplit(line[2].decode("ascii"))
        query = parse_qs(target.query, keep_blank_values=True)
    except ValueError:
        raise RefusedError(400, f"Part {number} of the batch has no address that can be read.") from None
    identity = re.sub(r"\r?\n(?=[ \t])", "", str(outer["Content-ID"] or "")).strip()  # a long header is folded
    safe = re.fullmatch(rf"<[\x20-\x7e]{{1,{_LONGEST_IDENTITY}}}>", identity)
    return Part(
        identity if safe else None,
        line[1].decode("ascii"),
        target.path,
        {name: values[0] for name, values in query.items()},
        headers,
        body,
    )


def _message(content: bytes) -> tuple[Message, bytes]:
    """Cut a message into headers and body, at its first empty line."""
    if content[:1] in (b"\r", b"\n"):  # no headers
        return Message(), content.lstrip(b"\r").removeprefix(b"\n")
    cut = re.search(rb"\r?\n\r?\n", content)
    head, body = (content, b"") if cut is None else (content[: cut.start()], content[cut.end() :])
    return BytesHeaderParser().parsebytes(head), body


def batch_of(answers: list[tuple[Part, int, dict[str, Any], dict[str, str]]]) -> bytes:
    """Return the body of a batch's answer; of each part its HTTP status, its JSON object and further headers."""
    found = []
    for part, code, value, headers in answers:
        content = json.dumps(value).encode("ascii")
        lines = [f"--{BOUNDARY}", "Content-Type: application/http"]
        if part.identity is not None:
            lines.append(f"Content-ID: <response-{part.identity[1:]}")
        lines += ["", f"HTTP/1.1 {code} {HTTPStatus(code).phrase}", "Content-Type: application/json; charset=UTF-8"]
        lines += [*(f"{name}: {said}" for name, said in headers.items()), f"Content-Length: {len(content)}", "", ""]
        found.append("\r\n".join(lines).encode("ascii") + content + b"\r\n")
    return b"".join([*found, f"--{BOUNDARY}--\r\n".encode("ascii")])
