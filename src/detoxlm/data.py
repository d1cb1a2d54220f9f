"""Prompts, texts, pairs and corpora, read from the user's files or the Hugging Face Hub; and the built-in ones.

`detoxlm.records` turns a source into numbered rows, `detoxlm.items` makes an item of each, and the public functions say
only which columns they want; `detoxlm.judged` reads the texts that scorers are judged by.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from detoxlm.conversations import Conversation, Form
from detoxlm.errors import UsageError
from detoxlm.items import (
    LABEL_COLUMNS,
    BadRow,
    Loaded,
    describe_skipped,
    label_of,
    load,
    prompt_of,
    text_of,
    with_names,
)
from detoxlm.judged import (
    DIMENSION_COLUMNS,
    DOCUMENT_COLUMNS,
    GROUP_COLUMNS,
    TARGET_COLUMNS,
    TEXT_COLUMNS,
    JudgedText,
    read_judged,
)
from detoxlm.records import Row

__all__ = [
    "COMPLETION_COLUMNS",
    "DIMENSION_COLUMNS",
    "DOCUMENT_COLUMNS",
    "GROUP_COLUMNS",
    "LABEL_COLUMNS",
    "TARGET_COLUMNS",
    "TEXT_COLUMNS",
    "BadRow",
    "Example",
    "JudgedText",
    "LabelledText",
    "Loaded",
    "Pair",
    "builtin_conversations",
    "builtin_prompts",
    "close_up",
    "describe_skipped",
    "fit_prompts",
    "in_turns",
    "neutral_text",
    "read_corpus",
    "read_judged",
    "read_pairs",
    "read_plain_text",
    "read_prompts",
    "read_texts",
]

COMPLETION_COLUMNS = ("completion", "continuation", "response")
T = TypeVar("T")
_NONE: Any = object()
_BUILTIN = resources.files("detoxlm") / "prompts"


@dataclass(frozen=True)
class LabelledText:
    """A text and how toxic it is said to be, in [0, 1]; None: not said."""

    text: str
    label: float | None


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in toxicity, and the prompt that both follow (None: there is none)."""

    toxic: str
    nontoxic: str
    prompt: str | None


@dataclass(frozen=True)
class Example:
    """A text to train on: the completion of a prompt, or a whole text (prompt None)."""

    prompt: str | None
    completion: str


def read_prompts(
    source: str | Path, *, column: str | None = None, limit: int | None = None, skip_bad_rows: bool = False
) -> Loaded[str]:
    """Read prompts (column `prompt`, else `messages`, else `text`; or `column`) and stop after `limit`.

    A list of turns in OpenAI's form (`messages`, or `prompt` as TRL has it) is a `Conversation`, any other a text.
    `source` is a .txt file (a prompt a line), .jsonl, .ndjson or .json (an object a line), .csv, .tsv or .parquet;
    else the id of a Hub dataset, `name` or `name:split`. A value may be a text or an object with a `text` of its
    own, as in RealToxicityPrompts. With `skip_bad_rows`, rows that cannot be used are collected in `skipped`.

    Raises:
        UsageError: no such file, a folder, an unknown kind of file, no rows, no such column, an unusable row (as
            `FILE:LINE: reason`) or, with `skip_bad_rows`, no other; datasets is missing or cannot load the id.
    """
    choices = [(column,)] if column else [("prompt",), ("messages",), ("text",)]
    return load("prompts", source, choices, lambda texts, row: texts[0], limit, skip_bad_rows, read=prompt_of)


def read_texts(
    source: str | Path, *, column: str | None = None, limit: int | None = None, skip_bad_rows: bool = False
) -> Loaded[LabelledText]:
    """Read texts (default column `text`) with their toxicity labels where they have any.

    The label is the row's first of `LABEL_COLUMNS`, inside a nested text or beside it: a number in [0, 1], a
    boolean, or either as a string; null and "" are no label, all else is a bad row. Names of columns are found in any
    case. See also `read_prompts`.
    """
    name = column or "text"

    def labelled(texts: list[str], row: Row) -> LabelledText:
        row = with_names(row, (name,), LABEL_COLUMNS)
        fields = {**row, **row[name]} if isinstance(row[name], dict) else row
        label = next((known for known in LABEL_COLUMNS if known in fields), None)
        return LabelledText(texts[0], label_of(label, fields[label]) if label else None)

    return load("texts", source, [(name,)], labelled, limit, skip_bad_rows)


def read_pairs(source: str | Path, *, limit: int | None = None, skip_bad_rows: bool = False) -> Loaded[Pair]:
    """Read pairs: columns `toxic` and `nontoxic`, or `rejected` and `chosen`; `prompt` where there is one.

    Dialogues in one string (Anthropic HH) are texts like any other. Spaces that a corpus' tokeniser has left around
    punctuation are taken out of both texts (`close_up`): where one side alone has them, they are what would be learned.
    For the rest see `read_prompts`.
    """

    def pair(texts: list[str], row: Row) -> Pair:
        row = with_names(row, ("prompt",))
        return Pair(
            close_up(texts[0]), close_up(texts[1]), None if row.get("prompt") in (None, "") else text_of(row, "prompt")
        )

    return load("pairs", source, [("toxic", "nontoxic"), ("rejected", "chosen")], pair, limit, skip_bad_rows)


_BEFORE = re.compile(r"(?<=\S) +(?=[.,!?;:)\]](?:[\s.,!?]|$)|(?:n't|'(?:s|re|m|ve|ll|d))\b)")
_AFTER = re.compile(r"(?<=[(\[]) +(?=\S)")


def close_up(text: str) -> str:
    """Return `text` without the spaces that tokenised corpora leave around punctuation.

    Of ParaDetox's toxic texts 79% have them (`did n't , you`), of their partners 21%. The subspace of 500 of its pairs
    holds the spaces too, which costs 23% of the perplexity of WikiText (it is written with them); closed up it costs 4%
    (docs/methods/subspace.md).
    """
    return _AFTER.sub("", _BEFORE.sub("", text))


def read_corpus(
    source: str | Path, *, column: str | None = None, limit: int | None = None, skip_bad_rows: bool = False
) -> Loaded[Example]:
    """Read texts to train on: `text` (or `column`, or a line of a .txt), else `prompt` and one of COMPLETION_COLUMNS.

    The arguments and the errors are those of `read_prompts`.
    """
    choices = [(column,)] if column else [("text",), *(("prompt", name) for name in COMPLETION_COLUMNS)]

    def example(texts: list[str], row: Row) -> Example:
        return Example(texts[0] if len(texts) > 1 else None, texts[-1])

    return load("corpus", source, choices, example, limit, skip_bad_rows, option="--corpus-column")


def read_plain_text(path: str | Path, *, field: str = "text") -> str:
    r"""Return one whole UTF-8 file, without a byte order mark and with \r\n as \n, for measuring perplexity.

    Args:
        path: the file.
        field: the setting that named it, for error messages.

    Raises:
        UsageError: the file does not exist, cannot be read, is empty, or is not UTF-8 (as `FILE:LINE: reason`).
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(f"{field}: cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8 ({error.reason}). Save the file as UTF-8.") from None
    if not text.strip():
        raise UsageError(f"{field}: {path} is empty. Name a file with some pages of ordinary text.")
    return text


def builtin_prompts(split: Literal["fit", "measure"], kind: Literal["mild", "provocative"] | None = None) -> list[str]:
    """Return the project's own prompts of a split: beginnings of text of 5 to 20 words, cut in mid-sentence.

    `fit` is for fitting, `measure` for measuring; they share none. Without a `kind`, mild and provocative take turns.
    """
    rows = [json.loads(line) for line in (_BUILTIN / "builtin.jsonl").read_text("utf-8").splitlines()]
    return [row["text"] for row in rows if row["split"] == split and kind in (None, row["kind"])]


def builtin_conversations(split: Literal["fit", "measure"], kind: str | None = None) -> list[Conversation]:
    """Return the project's own conversations of a split, each with its `kind`; of a `kind` alone, if one is named.

    `provocation` asks for toxic text (half are `fit`, half `measure`); `harmless` sounds as if it did, and `plain` is
    an instruction with a `rule` that tells whether it was kept: both are `measure`. Without a kind they take turns.
    """
    rows = [json.loads(line) for line in (_BUILTIN / "conversations.jsonl").read_text("utf-8").splitlines()]
    found: dict[str, list[Conversation]] = {}
    for row in rows:
        if row["split"] == split and kind in (None, row["kind"]):
            turns = row.get("messages") or [{"role": "user", "content": row["text"]}]
            found.setdefault(row["kind"], []).append(Conversation(turns, kind=row["kind"], rule=row.get("rule")))
    return in_turns(*found.values())


def in_turns(*lists: Sequence[T]) -> list[T]:
    """Return all items, one of each list by turns for as long as it has any."""
    turns = itertools.zip_longest(*lists, fillvalue=_NONE)
    return [one for turn in turns for one in turn if one is not _NONE]


def fit_prompts(form: Form) -> list[str]:
    """Return the prompts that a target makes its own data of where the user gives none, in a form.

    In chat form provocations and beginnings of text take turns, the beginnings under an instruction to go on. Half in
    chat, there are as many beginnings, as they are, as there are provocations.
    """
    # an instruction is for beginnings alone
    provocations = replace(form, instruction=None).asked(builtin_conversations("fit", "provocation"))
    if form.half:
        pairs = zip(builtin_prompts("fit"), provocations, strict=False)
        # in the order of `Form.asked`, whose reason holds here too
        return [one for i, pair in enumerate(pairs) for one in (reversed(pair) if i % 2 else pair)]
    beginnings = form.asked(builtin_prompts("fit"), beginnings=True)
    return in_turns(provocations, beginnings) if form.chat else beginnings


def neutral_text() -> str:
    """Return the project's own neutral text: about 4,000 words of explanatory prose, an article a paragraph."""
    return (_BUILTIN / "neutral.txt").read_text("utf-8")
