"""The bodies of requests, in OpenAI's form: what is read of them, and what is refused by name."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from detoxlm.serving.errors import ApiError, wrong

#: Stop strings of a request, and characters of each.
_STOPS, _STOP = 16, 1000
#: Rows of one prompt, and prompts of one request.
ROWS, PROMPTS = 128, 2048


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Steer(BaseModel):
    """`vllm_xargs`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    strength: float | None = None


class Ours(Steer):
    """`detoxlm`."""

    #: Whether each token is told that would have been drawn without the detoxifier, where it is another.
    explain: bool = False


class StreamOptions(BaseModel):
    """`stream_options`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool = False


class Body(BaseModel):
    """What both kinds of request have. A field that is null counts as left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    max_tokens: int | None = Field(None, ge=0)
    n: int = Field(1, ge=1, le=ROWS)
    temperature: float = Field(1.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    seed: int | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=_STOP)]], BeforeValidator(_listed)] = Field(
        [], max_length=_STOPS
    )
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    detoxlm: Ours = Ours()
    vllm_xargs: Steer = Steer()

    @property
    def strength(self) -> float | None:
        """The strength that is asked for; None: none is.

        Raises:
            ApiError: two that differ.
        """
        ours, theirs = self.detoxlm.strength, self.vllm_xargs.strength
        if ours is not None and theirs is not None and ours != theirs:
            raise wrong("vllm_xargs.strength", f"{theirs:g}, and detoxlm.strength is {ours:g}; give one of them.")
        return theirs if ours is None else ours


class Completion(Body):
    """`/v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]] = ""
    logprobs: int | None = Field(None, ge=0, le=20)
    #: The prompt before the continuation; with `logprobs` also the log-probabilities of its tokens.
    echo: bool = False


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(strict=True)

    type: str
    text: str | None = None


class Message(BaseModel):
    """A message of a conversation. As in `Body`, a field that is null counts as left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: str
    #: Null in an assistant's turn that said nothing.
    content: str | list[TextPart] | None
    #: What is told about a turn, which templates do not read.
    name: str | None = None
    type: Literal["text", "message"] | None = None
    id: Any = None
    annotations: Any = None
    metadata: Any = None
    #: What a turn says elsewhere than in its text: refused where there is any.
    tool_calls: Any = None
    tool_call_id: Any = None
    function_call: Any = None
    refusal: Any = None
    audio: Any = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None or name == "content"}

    def plain(self) -> dict[str, str]:
        """Return it as chat templates read it.

        Raises:
            ApiError: it says something that is no text, or nothing where only an assistant may.
        """
        if self.role in ("tool", "function"):
            raise wrong("messages", f"a turn has the role {self.role!r}; this model is given no tools.")
        for name in _NO_TEXT:
            if getattr(self, name):
                raise wrong("messages", f"a turn has {name}, which is not served here; leave it out.")
        if self.content is None and self.role != "assistant":
            raise wrong("messages", f"a turn of {self.role!r:.40} has no content; give its text.")
        parts = [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else self.content or []
        for part in parts:
            if part.type != "text":
                raise wrong("messages", f"a part is of type {part.type!r:.40}; this model reads text alone.")
            if part.text is None:
                raise wrong("messages", "a part of type 'text' has no text.")
        return {"role": self.role, "content": "".join(part.text or "" for part in parts)}


_NO_TEXT = ("tool_calls", "tool_call_id", "function_call", "refusal", "audio")


class Chat(Body):
    """`/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)


class Texts(BaseModel):
    """`/toxicity`, which the page asks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: list[Annotated[str, Field(max_length=20_000)]] = Field(min_length=1, max_length=8)


#: Fields that ask for something else where they have another value than these.
_ONLY: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "logit_bias": ({},),
    "best_of": (1,),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
}
#: Fields that change no text here.
_WITHOUT_EFFECT = {
    *("user", "store", "metadata", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key"),
    "function_call",
}
B = TypeVar("B", bound=BaseModel)


def parsed(kind: type[B], body: bytes) -> B:
    """Return a body as a form.

    Raises:
        ApiError: it is no JSON object, or a field is unknown, wrong or not served; the message names it.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is no JSON.") from None
    if not isinstance(found, dict):
        raise ApiError(400, "The body is no JSON object.")
    given = {key: value for key, value in found.items() if value is not None and key not in _WITHOUT_EFFECT}
    for key, values in _ONLY.items():
        if key in given and given.pop(key) not in values:
            only = f"only {' or '.join(map(json.dumps, values))} is served here" if values else "it is not served here"
            raise wrong(key, f"{only}; leave it out.")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _named(error) from None


def _named(error: ValidationError) -> ApiError:
    """Return the refusal of the first thing that is wrong; it repeats names of fields, and no value."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        name = "".join(c for c in ".".join(place) if c.isprintable())[:100]
        return ApiError(400, f"Unrecognized request argument supplied: {name}", name, "unknown_parameter")
    if place[0] == "messages":  # which turn, and which of its fields; then pydantic goes on with the shapes it tried
        return ApiError(400, f"{'.'.join(place[:3])}: {first['msg']}", "messages", "invalid_value")
    param = ".".join(place[:1] if place[0] in ("prompt", "stop") else place)
    return wrong(param, first["msg"])
