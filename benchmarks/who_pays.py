"""Who pays for each method: `python benchmarks/who_pays.py --rows fusion@0.5 nado@1 [options]`.

A row is METHOD@STRENGTH, fitted here without data, or FOLDER@STRENGTH (`./fusion@0.5` is a folder of a method's name);
settings of a method go in brackets: `fusion[threshold=0.35]@0.5`. The texts are the built-in ones, or human-checked
sentences about groups (--identity, with `text` and `groups`) beside comments that mention none (--comments, with `text`
and their toxicity). Each text is read once by the untouched model for all rows. What is measured is written to
--output, row by row.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detoxlm.data import read_texts
from detoxlm.files import write_atomically
from detoxlm.likelihood import mention_tokens, text_batches, text_logits, text_windows
from detoxlm.mentions import Mention, builtin_mentions
from detoxlm.methods import METHODS, Detoxifier, FitData, get_method
from detoxlm.methods.base import Method
from detoxlm.metrics import who_pays
from detoxlm.models import Target, load_target
from detoxlm.report.paying import paying_block
from detoxlm.results import WhoPays, Window
from detoxlm.scorers import load_scorer

#: A comment with one of these is not of the texts without a group.
_GROUPS = re.compile(
    r"\b(wom[ae]n|girls?|m[ae]n|guys?|muslims?|islam\w*|jew\w*|christ\w*|blacks?|whites?|asians?|chinese|mexicans?|latin\w*"
    r"|gays?|lesbian\w*|trans\w*|homo\w*|disab\w*|deaf|blind|immigra\w*|migra\w*|rac\w+|arabs?|indians?|africans?|native"
    r"|hispanic\w*|retard\w*|mental\w*|autis\w*)\b",
    re.IGNORECASE,
)


def texts(options: argparse.Namespace) -> list[Mention]:
    """The built-in texts, or those of the two files."""
    if options.identity is None:
        return builtin_mentions(options.share)
    draw = random.Random(options.seed)
    rows = [json.loads(line) for line in Path(options.identity).read_text("utf-8").splitlines()]
    about = [Mention(row["text"].strip(), tuple(row["groups"])) for row in rows if row["groups"]]
    comments = [
        Mention(one.text.strip(), ())
        for one in read_texts(options.comments).items
        if one.label is not None and one.label < 0.2 and 20 < len(one.text) < 200 and not _GROUPS.search(one.text)
    ]
    for what, some in (("--identity", about), ("--comments", comments)):
        if len(some) < options.texts:
            raise SystemExit(f"{what}: it has {len(some)} such texts, and --texts asks for {options.texts}")
    return draw.sample(about, options.texts) + draw.sample(comments, options.texts)


def strength_of(name: str) -> float:
    """The strength that a row names; ValueError: it names none."""
    return float(name.rpartition("@")[2])


def row_of(name: str, target: Target, scorer: str) -> tuple[Detoxifier, float]:
    """The detoxifier and the strength that a row names; a method of that name comes before a folder."""
    what, strength = name.rpartition("@")[0], strength_of(name)
    method, *settings = re.split(r"[\[\],]", what)
    if method not in METHODS and Path(what).is_dir():
        return Detoxifier.from_pretrained(what), strength
    found: type[Method] = get_method(method)
    chosen = dict(setting.split("=", 1) for setting in settings if setting)
    made = found.detoxifier_type.settings_type.model_validate_strings(chosen)
    return found.fit(target, FitData(scorer=load_scorer(scorer)), made), strength


def read(
    target: Target, mentions: Sequence[Mention], rows: Mapping[str, tuple[Detoxifier, float]]
) -> dict[str, list[Window]]:
    """Read every text, untouched once and by each row."""
    ids = mention_tokens(target, mentions)
    found: dict[str, list[Window]] = {name: [] for name in rows}
    for number, batch in enumerate(text_batches(ids)):
        here = [ids[i] for i in batch]
        base = text_logits(target, here)
        for name, (detoxifier, strength) in rows.items():
            with detoxifier.attached(target.model, strength):
                logits = text_logits(target, here)
            for i, window in zip(batch, text_windows(here, logits, base), strict=True):
                about = {"groups": list(mentions[i].groups), "template": mentions[i].template}
                found[name].append(window.model_copy(update=about))
        print(f"batch {number + 1}: {sum(map(len, found.values())) // len(found)} of {len(ids)} texts", flush=True)
    return found


def main() -> None:
    """Read every text untouched and by every row, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--rows", nargs="+", default=["fusion@0.5", "nado@1"])
    parser.add_argument("--scorer", default="embedded", help="who fits the methods")
    parser.add_argument("--share", type=float, default=1.0, help="of the built-in sentences")
    parser.add_argument("--identity", help="sentences that mention groups")
    parser.add_argument("--comments", help="comments, of which those without groups are compared with")
    parser.add_argument("--texts", type=int, default=500, help="drawn from each of the two files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", default="out/who-pays.json")
    options = parser.parse_args()
    if (options.identity is None) != (options.comments is None):
        parser.error("--identity, --comments: each needs the other")
    for name in options.rows:
        try:
            strength_of(name)
        except ValueError:
            parser.error(f"--rows: {name} is not METHOD@STRENGTH or FOLDER@STRENGTH")
    target, mentions = load_target(options.model), texts(options)
    rows = {name: row_of(name, target, options.scorer) for name in options.rows}
    found = read(target, mentions, rows)
    said = {name: who_pays(windows) for name, windows in found.items()}
    shown = {name: one.model_dump() for name, one in said.items() if one is not None}
    write_atomically(Path(options.output), json.dumps(shown, indent=1).encode())
    for name, one in said.items():
        if one is not None:
            table(name, one)


def table(name: str, found: WhoPays) -> None:
    block: Any = paying_block(found)
    print(f"\n{name}\n| {block.caption} | {' | '.join(block.columns)} |")
    for group, cells in block.rows:
        print(f"| {group} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
