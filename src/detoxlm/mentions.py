"""Texts that mention groups of people, and texts of the same kind that do not: who pays, and who is still named."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.items import collect, names_of, text_of, with_names
from detoxlm.judged import GROUP_COLUMNS, groups_of
from detoxlm.records import Row, RowError

_BUILTIN = resources.files("detoxlm") / "prompts" / "mentions.toml"


@dataclass(frozen=True)
class Mention:
    """A text, the groups that it mentions (none: it is what the others are compared with), and what it is made of.

    Texts of one `template` differ in the mention alone; they are resampled as one. None: the text stands for itself.
    """

    text: str
    groups: tuple[str, ...]
    template: str | None = None


@dataclass(frozen=True)
class IdentityPrompt:
    """A prompt whose likely continuation says again whom it is about: a group (or none), named by one of some words."""

    prompt: str
    groups: tuple[str, ...]
    template: str
    words: tuple[str, ...]

    def named_in(self, text: str) -> bool:
        """Tell whether a text has one of the words, whole and in any case, with or without an s at its end."""
        words = "|".join(map(re.escape, self.words))
        return re.search(rf"(?<![\w-])(?:{words})s?\b", text, re.IGNORECASE) is not None


def builtin_mentions(share: float = 1.0) -> list[Mention]:
    """Return the project's own texts: 14 everyday sentences, each about 24 groups and 4 roles that are no such group.

    Of these sentences the first `share` is taken, in (0, 1], but two at least, each with all its groups and roles.
    """
    return [Mention(text, groups, template) for text, groups, template, _ in _filled("people", "person", share)]


def identity_prompts(share: float = 1.0, *, chat: bool = False) -> list[IdentityPrompt]:
    """Return the project's own prompts about the same groups and roles: six beginnings of text, or six requests.

    Of these the first `share` is taken, as of `builtin_mentions`.
    """
    kind, named = "requests" if chat else "beginnings", _builtin()["named"]
    return [
        IdentityPrompt(text, groups, template, tuple(named[name]))
        for text, groups, template, name in _filled(f"{kind}_people", f"{kind}_person", share)
    ]


def _builtin() -> dict[str, Any]:
    return tomllib.loads(_BUILTIN.read_text("utf-8"))


def _filled(people: str, person: str, share: float) -> list[tuple[str, tuple[str, ...], str, str]]:
    """Fill the first share of templates, two at least: (text, groups, template, name of the group or role)."""
    found = _builtin()
    forms = [(template, form) for form, name in enumerate((people, person)) for template in found[name]]
    named: list[tuple[tuple[str, ...], str, list[str]]] = [
        ((name,), name, words) for name, words in found["groups"].items()
    ]
    named += [((), name, words) for name, words in found["roles"].items()]
    half = len(found[people])
    order = [forms[i + j * half] for i in range(half) for j in (0, 1)]  # by turns: a part of them has both forms
    return [
        (template.format(people=words[form], person=words[form]), groups, template, name)
        for template, form in order[: max(2, round(len(order) * share))]
        for groups, name, words in named
    ]


def read_mentions(source: str | Path, *, skip_bad_rows: bool = False) -> list[Mention]:
    """Read texts (column `text`) with the groups that they mention (`groups`: a list, or parted by commas; or empty).

    A column `template` says which texts are made of one; `source` is a file or a Hub dataset's id, as for
    `detoxlm.data.read_prompts`.

    Raises:
        UsageError: as `read_prompts`; no column of groups; no text with a group, or none without.
    """

    def mention(row: Row) -> Mention:
        row = with_names(row, ("text",), ("template",), GROUP_COLUMNS)
        name = next((one for one in GROUP_COLUMNS if one in row), None)
        if "text" not in row or name is None:
            missing = "groups" if "text" in row else "text"
            raise RowError(f"no column `{missing}`; found: {names_of(row)}")
        template = row.get("template")
        return Mention(
            text_of(row, "text"),
            tuple(sorted(groups_of(row[name]))),
            None if template in (None, "") else str(template),
        )

    found = collect("who_pays", source, mention, None, skip_bad_rows).items
    for what, wanted in (("with", True), ("without", False)):
        if not any(bool(one.groups) == wanted for one in found):
            raise UsageError(
                f"who_pays: {source} has no text {what} groups; it needs texts that mention some, and texts of the "
                "same kind, with `groups` empty, to compare them with."
            )
    return found


def mentions_of(source: str | None, share: float, skip_bad_rows: bool) -> tuple[list[Mention], str]:
    """Return the texts that the setting `who_pays` names, and where they are from; of the built-in ones a share."""
    if source is None:
        return builtin_mentions(share), "built-in sentences"
    if source.lower() == "none":
        return [], "none"
    return read_mentions(source, skip_bad_rows=skip_bad_rows), source
