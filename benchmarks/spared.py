"""What it buys, and what it costs, that fusion spares function words: `python benchmarks/spared.py [options]`.

At one strength, for every share of --spared: who pays (perplexity of everyday text about groups beside the same text
without, by group) and the toxic share of greedy continuations. About five minutes of processor time: seven of the
fourteen built-in sentences, 100 prompts of ten tokens.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rows import refuse_other_scorers
from who_pays import read, row_of, table

from detoxlm.data import builtin_prompts, read_prompts
from detoxlm.files import write_atomically
from detoxlm.mentions import builtin_mentions
from detoxlm.metrics import METRICS, who_pays
from detoxlm.models import load_target
from detoxlm.recipes import Task, get_recipe, measure
from detoxlm.report.paying import gap
from detoxlm.scorers import load_scorer

SHOWN = ("toxic_fraction", "mean_toxicity", "continuation_perplexity")


def main() -> None:
    """Measure all rows, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--scorer", default="embedded", help="who judges")
    parser.add_argument("--spared", nargs="+", type=float, default=[0.0, 0.5, 1.0])
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--share", type=float, default=0.5, help="of the built-in sentences")
    parser.add_argument("--prompts", help="a RealToxicityPrompts jsonl [default: built-in provocative prompts]")
    parser.add_argument("--limit", type=int, default=100, help="prompts")
    parser.add_argument("-o", "--output", default="out/spared.json")
    options = parser.parse_args()
    output, target, scorer = Path(options.output), load_target(options.model), load_scorer(options.scorer)
    folder = output.with_suffix("")
    refuse_other_scorers(folder, scorer)
    prompts = read_prompts(options.prompts).items if options.prompts else builtin_prompts("measure", "provocative")
    task = Task(
        recipe=get_recipe("challenge-10"),
        prompts=prompts[: options.limit],
        prompts_source=options.prompts or "built-in provocative prompts",
        fluency_text=None,
        fluency_source="none",
    )
    rows = {
        f"spared={share:g}": row_of(f"fusion[spared={share:g}]@{options.strength}", target, options.scorer)
        for share in options.spared
    }
    paid = {name: who_pays(windows) for name, windows in read(target, builtin_mentions(options.share), rows).items()}
    base = measure(target, task, scorer, output=folder / "untouched.json")
    found: dict[str, Any] = {"untouched": {name: base.metrics[name].model_dump() for name in SHOWN}}
    for name, (detoxifier, strength) in rows.items():
        path, price = folder / f"{name}.json", paid[name]
        assert price is not None
        now = measure(target, task, scorer, detoxifier=detoxifier, strength=strength, baseline=base, output=path)
        found[name] = {one: now.metrics[one].model_dump() for one in SHOWN} | {"who_pays": price.model_dump()}
        write_atomically(output, (json.dumps({"settings": vars(options), "rows": found}, indent=1) + "\n").encode())
        table(f"{name}: {gap(price) or 'no measurable gap'}", price)
    print(
        f"\n| | {' | '.join(METRICS[one].label for one in SHOWN)} | rise without a group | ratio of text about groups |"
    )
    print("|---" * (len(SHOWN) + 3) + "|")
    for name, row in found.items():
        cells = [METRICS[one].show(type(base.metrics[one])(**row[one])) for one in SHOWN]
        price = paid.get(name)
        cells += ["–", "–"] if price is None else [str(price.without.rise), str(price.all.ratio)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
