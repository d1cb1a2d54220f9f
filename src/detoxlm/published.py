"""Prompts that papers measure on, as their authors publish them: read from files that the user has downloaded.

Nothing of them is here. A prompt comes with the groups that results are broken down by, such as `{"stance": "hate"}`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detoxlm.data import in_turns
from detoxlm.errors import UsageError
from detoxlm.items import BadRow, Loaded, collect, names_of, text_of
from detoxlm.records import Row, RowError

#: Of a prompt, by what groups are of: `{"domain": "gender", "group": "American_actors"}`.
Groups = Mapping[str, str]


@dataclass(frozen=True)
class Prompt:
    """A prompt and the groups that it counts for."""

    text: str
    groups: Groups


@dataclass(frozen=True)
class Published:
    """Prompts of a name: where they are, how they are read, and how many of them are taken."""

    #: What to download, in a sentence.
    download: str
    #: What a row of a table holds.
    of_row: Callable[[Row, str | None], list[Prompt]]
    #: What is looked for in a folder.
    files: str
    #: What a file holds that is no table; None: of this kind are none, or this one is a table.
    of_file: Callable[[Path], list[Prompt] | None] = lambda _: None
    #: At most so many of each combination of groups are taken, at random; None: all.
    most: int | None = None
    #: Whether prompts are beginnings of text, and so asked in chat by an instruction to go on.
    beginnings: bool = True


@dataclass(frozen=True)
class Taken:
    """The prompts that are measured; `known` is how many could be, `had` how many the source has."""

    prompts: list[Prompt]
    source: str
    known: int
    had: int
    loaded: Loaded[Any]


def read_published(
    name: str,
    source: str | Path | None,
    *,
    column: str | None = None,
    limit: int | None = None,
    skip_bad_rows: bool = False,
) -> Taken:
    """Read the prompts of that name, one of `PUBLISHED`, and take those that are measured.

    Which are taken does not depend on the model or the seed: as many of every group as there are, at random.

    Args:
        name: whose prompts.
        source: a file as published, a folder of them, or the id of a Hub dataset.
        column: of the prompts, in a table; None: the published one.
        limit: take so many in all.
        skip_bad_rows: collect rows that cannot be used in `loaded.skipped` instead of raising.

    Raises:
        UsageError: no source is given, it is not there, or is none of these prompts; the message says what to download.
    """
    kind = PUBLISHED[name]
    if source is None:
        raise UsageError(f"prompts: the recipe {name} has no built-in prompts. {kind.download}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit: {limit} is too few prompts; give at least 1.")
    loaded = _load(name, kind, source, column, skip_bad_rows)
    cells: dict[tuple[str, ...], list[Prompt]] = {}
    for prompt in loaded.items:
        cells.setdefault(tuple(prompt.groups.values()), []).append(prompt)
    drawn = random.Random(f"{name} of DetoxLM")
    in_order = [cells[groups] for groups in sorted(cells)]
    for cell in in_order:
        drawn.shuffle(cell)
    drawn.shuffle(in_order)  # else a limit below the number of groups would take the first ones alone
    usable = in_turns(*(cell[: kind.most] for cell in in_order))
    return Taken(usable[:limit], loaded.source, len(usable), len(loaded.items), loaded)


def _load(name: str, kind: Published, source: str | Path, column: str | None, skip: bool) -> Loaded[Prompt]:
    path = Path(source)
    if not path.is_dir() or (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        found = [(source, path)]
    else:
        files = [path / part for part in ("", "prompts")]
        found = [(file, file) for folder in files for file in sorted(folder.glob(kind.files))]
        if not found:
            raise UsageError(f"prompts: {path} has no file {kind.files}, as {name} wants them. {kind.download}")
    items: list[Prompt] = []
    skipped: list[BadRow] = []
    sha256 = None
    for one, file in found:
        read = kind.of_file(file) if file.is_file() else None
        if read is not None:
            items += read
            continue
        try:
            loaded = collect("prompts", one, lambda row: kind.of_row(row, column), None, skip)
        except UsageError as error:
            raise UsageError(f"{error} {kind.download}") from None
        items += [prompt for row in loaded.items for prompt in row]
        skipped += loaded.skipped
        sha256 = loaded.sha256
    return Loaded(items, skipped, str(source), sha256 if len(found) == 1 else None, rows=len(items))


def _field(row: Row, *names: str) -> str:
    """Return the text in the first of these columns that the row has; raise `RowError` where it has none."""
    name = next((name for name in names if name in row), None)
    if name is None:
        raise RowError(f"no column {' or '.join(f'`{name}`' for name in names)}; found: {names_of(row)}")
    return text_of(row, name)


def _rtp(row: Row, column: str | None) -> list[Prompt]:
    return [Prompt(_field(row, column or "prompt"), {})]


#: The files of ToxiGen: `hate_asian_1k.txt`.
_TOXIGEN_FILE = re.compile(r"(hate|neutral)_(\w+?)(?:_\d+k)?\.txt", re.IGNORECASE)


def _toxigen_prompt(text: str, group: str, stance: str) -> Prompt:
    """Make one of a line: a list of sentences, with the ends of its lines written as \\n."""
    text = text.strip().replace("\\\\", "\\").replace("\\n", "\n")
    return Prompt(text, {"stance": stance, "group": group, "group and stance": f"{group}, {stance}"})


def _toxigen_file(file: Path) -> list[Prompt] | None:
    if file.suffix != ".txt":
        return None
    named = _TOXIGEN_FILE.fullmatch(file.name)
    if named is None:
        raise UsageError(
            f"prompts: {file} does not say its stance and group; ToxiGen's files are called hate_asian_1k.txt and "
            "neutral_asian_1k.txt."
        )
    lines = collect("prompts", file, lambda row: text_of(row, "text"), None, False).items
    return [_toxigen_prompt(line, named[2], named[1].lower()) for line in lines]


def _toxigen(row: Row, column: str | None) -> list[Prompt]:
    stance = {"1": "hate", "0": "neutral"}.get(str(row.get("prompt_label")), row.get("stance"))
    if stance not in ("hate", "neutral"):
        raise RowError("no `stance` (hate or neutral) and no `prompt_label` (1 or 0)")
    return [_toxigen_prompt(_field(row, column or "prompt"), _field(row, "group", "target_group"), stance)]


def _bold_file(file: Path) -> list[Prompt] | None:
    """Read `{group: {name: [prompt, ...]}}`, as in gender_prompt.json; None: it is a table."""
    if file.suffix != ".json":
        return None
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return None  # lines of JSON, or what the reader of tables has words for
    if not isinstance(whole, dict) or not all(isinstance(people, dict) for people in whole.values()):
        return None
    domain = file.stem.removesuffix("_prompt")
    if domain.endswith("_wiki"):
        raise UsageError(f"prompts: {file} holds the sentences of Wikipedia; name the file {domain[:-5]}_prompt.json.")
    try:
        return [
            Prompt(text_of({"prompt": text}, "prompt"), {"domain": domain, "group": group})
            for group, people in whole.items()
            for prompts in people.values()
            for text in prompts
        ]
    except (RowError, AttributeError, TypeError) as error:
        raise UsageError(f"prompts: {file} is not as BOLD is published ({error}).") from None


def _bold(row: Row, column: str | None) -> list[Prompt]:
    groups = {"domain": _field(row, "domain"), "group": _field(row, "category", "group")}
    prompts = row.get(column or "prompts", row.get("prompt"))
    texts = prompts if isinstance(prompts, list) else [prompts]
    return [Prompt(text_of({"prompts": text}, "prompts"), groups) for text in texts]


def _attaq(row: Row, column: str | None) -> list[Prompt]:
    return [Prompt(_field(row, column or "input"), {"category": _field(row, "label")})]


PUBLISHED = {
    "rtp-32": Published(
        "Download prompts.jsonl of https://huggingface.co/datasets/allenai/real-toxicity-prompts and give "
        "--prompts prompts.jsonl.",
        _rtp,
        "*prompts*.jsonl",
        most=1000,
    ),
    "toxigen": Published(
        "Download the folder prompts/ (hate_asian_1k.txt and 30 others) of https://github.com/microsoft/TOXIGEN and "
        "give --prompts FOLDER; a table with the columns prompt, group and stance (hate or neutral) will do as well.",
        _toxigen,
        "*_1k.txt",
        _toxigen_file,
        most=500,
    ),
    "bold": Published(
        "Download the folder prompts/ (gender_prompt.json and four others) of https://github.com/amazon-science/bold "
        "and give --prompts FOLDER; a table with the columns prompts, domain and category will do as well.",
        _bold,
        "*_prompt.json",
        _bold_file,
    ),
    "attaq": Published(
        "Download AttaQ-v1.csv of https://huggingface.co/datasets/ibm-research/AttaQ and give --prompts AttaQ-v1.csv.",
        _attaq,
        "*.csv",
        beginnings=False,
    ),
}
