"""Requests as they are written: JSON by protobuf's rules, read into plain values or refused by the field's name.

Those rules: names in camelCase or snake_case, `null` is not given, a name that is not known is an error.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from detoxlm.serve.refusals import api_error, malformed, shown


@dataclass(frozen=True)
class Map:
    """An object of any names, each with a value of one shape."""

    of: Any


@dataclass(frozen=True)
class OneOf:
    """A name out of a list, or its number in it."""

    names: tuple[str, ...]


#: What the leaves of a shape are; the API's messages name them so.
STRING, BOOL, FLOAT = "TYPE_STRING", "TYPE_BOOL", "TYPE_FLOAT"
_TEXT = {"text": STRING, "type": OneOf(("TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT", "HTML"))}
_CONTEXT = {"entries": [_TEXT], "articleAndParentComment": {"article": _TEXT, "parentComment": _TEXT}}
_SCORE_TYPE = OneOf(("SCORE_TYPE_UNSPECIFIED", "PROBABILITY", "STD_DEV_SCORE", "PERCENTILE", "RAW"))
_SCORE = {"value": FLOAT, "type": _SCORE_TYPE}
_SPAN = {"begin": FLOAT, "end": FLOAT, "score": _SCORE}
_BOTH = {
    "comment": _TEXT,
    "context": _CONTEXT,
    "languages": [STRING],
    "clientToken": STRING,
    "sessionId": STRING,
    "communityId": STRING,
}
ANALYZE = {
    **_BOTH,
    "requestedAttributes": Map({"scoreType": _SCORE_TYPE, "scoreThreshold": FLOAT}),
    "doNotStore": BOOL,
    "dropUnsupportedAttributes": BOOL,
    "spanAnnotations": BOOL,
}
SUGGEST = {**_BOTH, "attributeScores": Map({"summaryScore": _SCORE, "spanScores": [_SPAN]})}


def read(body: bytes, shape: dict[str, Any]) -> dict[str, Any]:
    """Return a request's fields by their camelCase names, those that are given.

    Raises:
        RefusedError: the body is no JSON object, or something in it is not of the shape; names it.
    """
    value = json_of(body) if body.strip() else {}  # clients try their key with no body at all, and read the error
    if not isinstance(value, dict):
        raise malformed("", "Invalid JSON payload received. The root of the message must be an object.")
    found: dict[str, Any] = _value(value, shape, "")
    context = found.get("context", {})
    if len(context) > 1:
        raise api_error(
            "Context can have either entries or article_and_parent_comment, but both fields were populated."
        )
    return found


def json_of(body: bytes) -> Any:
    """Return the JSON value of a body; every text in it can be written as UTF-8.

    Raises:
        RefusedError: it is no UTF-8, no JSON, nested too deep, or has numbers that JSON does not.
    """
    try:
        return _mended(json.loads(body.decode("utf-8-sig"), parse_constant=_no_number))
    except UnicodeDecodeError:
        raise malformed("", "Invalid JSON payload received. The body is not UTF-8.") from None
    except RecursionError:
        raise malformed("", "Invalid JSON payload received. It is nested too deep.") from None
    except json.JSONDecodeError as error:
        raise malformed(
            "", f"Invalid JSON payload received. {error.msg}: line {error.lineno} column {error.colno}."
        ) from None
    except ValueError:  # numbers of thousands of digits, and those that are none
        raise malformed("", "Invalid JSON payload received. A number in it is none of JSON's.") from None


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _mended(value: Any) -> Any:
    """Replace the halves of characters that JSON can spell (`\\ud800`) and no encoding has."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(one) for key, one in value.items()}
    return value


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _value(value: Any, shape: Any, path: str) -> Any:
    if isinstance(shape, dict):
        return _message(value, shape, path)
    if isinstance(shape, Map):
        _need(isinstance(value, dict), path, "object", value)
        return {key: _value({} if one is None else one, shape.of, f"{path}.{key}") for key, one in value.items()}
    if isinstance(shape, list):
        several = value if isinstance(value, list) else [value]
        return [_value(one, shape[0], f"{path}[{i}]") for i, one in enumerate(several)]
    if isinstance(shape, OneOf):
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(shape.names):
            return shape.names[value]
        _need(value in shape.names if isinstance(value, str) else False, path, " or ".join(shape.names), value)
        return value
    if shape == STRING:
        _need(isinstance(value, str), path, STRING, value)
        return value
    if shape == BOOL:
        _need(isinstance(value, bool) or value in ("true", "false"), path, BOOL, value)
        return value in (True, "true")
    return _number(value, path)


def _message(value: Any, shape: dict[str, Any], path: str) -> dict[str, Any]:
    _need(isinstance(value, dict), path, "object", value)
    found = {}
    for key, one in value.items():
        name = _camel(key)
        if name not in shape:
            at = f" at '{shown(path)}'" if path else ""
            raise malformed(path, f'Invalid JSON payload received. Unknown name "{shown(key)}"{at}: Cannot find field.')
        if one is not None:
            found[name] = _value(one, shape[name], f"{path}.{name}" if path else name)
    return found


def _number(value: Any, path: str) -> float:
    """Return a number: JSON's own, or as text, or, as some clients wrap it, {"value": …}."""
    if isinstance(value, dict) and set(value) == {"value"}:
        value = value["value"]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    _need(math.isfinite(number), path, FLOAT, value)
    return number


def _need(truth: bool, path: str, kind: str, value: Any) -> None:
    if not truth:
        said = json.dumps(value, ensure_ascii=False) if not isinstance(value, dict | list) else type(value).__name__
        raise malformed(shown(path), f"Invalid value at '{shown(path)}' ({kind}), {shown(said)}")
