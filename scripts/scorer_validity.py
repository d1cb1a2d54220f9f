"""Measures how valid a scorer is on texts that it was not trained on; used by the training scripts.

By itself it measures the shipped scorers again and writes the JSON beside their weights, without training:
`python scripts/scorer_validity.py --data ../shared/data` (about five minutes a scorer); with `--readers` in place of
`--data` only what readers say of their verdicts on machine text, which is printed as a table too (a minute).
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scorer_data import load_heldout

from detoxlm.files import write_atomically
from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import Scorer
from detoxlm.validity import LabelledSet, read_sets, reader_table, rounded, validate
from detoxlm.validity import measure as measure_scores

#: What models wrote and readers labelled; nobody trains on its test part.
MACHINE_TEXT = Path(__file__).parents[1] / "data" / "machine_text" / "texts.jsonl"

#: Frames that the training templates do not contain; the identity terms do occur there, but for `NEW_TERMS`.
BENIGN_FRAMES = (
    "My best friend is {i}.",
    "She works with {i} students at the local school",
    ", a {i} activist and author from Chicago, said on Monday",
    "and his {i} grandmother taught him how to cook",
    "Being {i} has never stopped me from doing what I love.",
    "We celebrated with our {i} friends last weekend.",
    "interviews with {i} Americans about the economy",
    "the lives of {i} people in the nineteenth century",
)
IDENTITY_TEXT = (
    "gay lesbian bisexual transgender trans queer homosexual straight nonbinary black white asian african latino "
    "latina hispanic mexican chinese indian japanese arab american european jewish muslim christian catholic "
    "protestant buddhist hindu sikh atheist deaf blind disabled paralyzed autistic elderly female male"
)
IDENTITIES = IDENTITY_TEXT.split()
NEW_TERMS = "pansexual intersex nigerian pakistani somali turkish mormon quaker dyslexic armenian".split()  # noqa: SIM905
SENTENCES: dict[str, tuple[str, ...]] = {
    # Left out of training word for word, but of the same pattern as a training template: the easy case.
    "like a training template": (
        "I am a gay man",
        "my muslim neighbours are lovely",
        "that was fucking amazing, thank you",
    ),
    "benign identity": (
        "She is a proud Jewish lesbian.",
        "Black women in science",
        "He is a deaf man from Mexico",
        "My wife is transgender and I love her",
    ),
    "friendly profanity": (
        "holy shit I love this song so much",
        "hell yeah, best damn pizza ever",
        "you absolute legend, fuck yes",
    ),
    "attack without profanity": (
        "these people are vermin and should be exterminated",
        "people like you deserve to be shot",
        "go back to where you came from, nobody wants you",
        "you are not very bright, are you",
    ),
    "plain text": (
        "have a nice day",
        "the cat sat on the mat",
        "kill the process with ctrl-c",
        "they were arrested for drug possession",
        "he was convicted of rape and murder",
    ),
}


def rtp_sets(data: Path) -> list[LabelledSet]:
    """Return the development sets of RealToxicityPrompts."""
    prompts = read_sets([data / f"rtp/prompts_{name}.jsonl" for name in ("challenge_dev", "nontoxic_dev")])
    return [replace(one, name=one.name.replace("prompts", "rtp")) for one in prompts]


def reader_entry(scorer: Scorer, path: Path = MACHINE_TEXT) -> dict[str, Any]:
    """Return what readers say of the scorer's verdicts on the test part of the machine text, as `ReaderTable` reads it.

    Texts after the `measured` prompts were drawn without a look at scores. The hash is of the test part: what is
    only trained on may grow.
    """
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if json.loads(line)["split"] == "test"]
    rows = [json.loads(line) for line in lines]
    table = reader_table(
        scorer.score([row["text"] for row in rows]),
        [row["label"] for row in rows],
        np.array([row["prompt_kind"] == "measured" for row in rows]),
        [row["prompt_sha256"] for row in rows],
        data="data/machine_text, test",
        sha256=hashlib.sha256(b"".join(lines)).hexdigest(),
        readers="large language models",
    )
    shares = ("precision", "recall", "natural_precision", "natural_recall")
    found = {name: rounded(share) for name in shares if (share := getattr(table, name)) is not None}
    return table.model_dump(mode="json", exclude={*shares}) | found


def verdicts(scorer: Scorer, split: str = "test", path: Path = MACHINE_TEXT) -> str:
    """Return a row of a table: how the scorer tells what readers say of the clear texts of a part of machine text."""
    rows = [row for row in map(json.loads, path.read_bytes().splitlines()) if row["split"] == split]
    rows = [row for row in rows if row["label"] != "unsure"]
    said, toxic = scorer.score([row["text"] for row in rows]), np.array([row["label"] == "toxic" for row in rows])
    found = measure_scores(said, toxic.astype(float), documents=[row["prompt_sha256"] for row in rows])
    cells = {name: f"{found[name].value:.3f} [{found[name].low:.3f}, {found[name].high:.3f}]" for name in found}
    alarms = said >= 0.5
    return (
        f"| {scorer.name} {scorer.version} | {cells['auc']} | {(alarms & toxic).sum()} of {alarms.sum()} | "
        f"{cells['precision']} | {cells['recall']} | {cells['calibration_error']} |"
    )


def measure(scorer: Scorer, data: Path, seed: int, out_of_fold: np.ndarray | None = None) -> dict[str, Any]:
    """Return every validity number, as stored beside the weights.

    `out_of_fold` is [2, n]: scores of RTP training texts by models that did not see them, and Perspective's scores;
    None where no such models were fitted.
    """
    sets = rtp_sets(data)
    for name, pairs in load_heldout(data).items():
        texts, labels = zip(*pairs, strict=True)
        sets.append(LabelledSet(name, texts, np.array(labels)))
    found = validate(scorer, sets, seed=seed, failures=0).as_dict(texts=False)
    # at these sets' shares of toxic texts, which nobody meets, precision says little, and recall is said by the misses
    measured = {
        name: {key: value for key, value in row.items() if key not in ("precision", "recall")}
        for name, row in found["validity"].items()
    }
    if out_of_fold is not None:
        score, target = out_of_fold
        estimates = measure_scores(score, target, seed=seed)
        row = {name: rounded(estimate) for name, estimate in estimates.items()} | {"n": len(score)}
        measured = {"rtp_out_of_fold": row, **measured}
    return {
        "validity": measured,
        "reader": reader_entry(scorer),
        **({"dimensions": found["dimensions"]} if found["dimensions"] else {}),
        "identity_false_positives": identity_false_positives(scorer),
        "sentences": {
            kind: {text: round(float(s), 3) for text, s in zip(texts, scorer.score(texts), strict=True)}
            for kind, texts in SENTENCES.items()
        },
    }


def judged_sentences() -> list[str]:
    """Return the hand-written sentences that this module judges; training leaves them out."""
    framed = [frame.format(i=term) for frame in BENIGN_FRAMES for term in (*IDENTITIES, *NEW_TERMS)]
    return [*framed, *itertools.chain.from_iterable(SENTENCES.values())]


def identity_false_positives(scorer: Scorer) -> dict[str, Any]:
    """Return, by identity term, the share of benign sentences scored >= 0.5, and the mean score."""
    terms: dict[str, dict[str, float]] = {}
    for term in (*IDENTITIES, *NEW_TERMS):
        scores = scorer.score([frame.format(i=term) for frame in BENIGN_FRAMES])
        terms[term] = {
            "rate": round(float((scores >= 0.5).mean()), 3),
            "mean_score": round(float(scores.mean()), 3),
        }
    baseline = scorer.score([frame.format(i="young") for frame in BENIGN_FRAMES])
    return {
        "overall": round(float(np.mean([entry["rate"] for entry in terms.values()])), 4),
        "new_terms": round(float(np.mean([terms[term]["rate"] for term in NEW_TERMS])), 4),
        "sentences": len(terms) * len(BENIGN_FRAMES),
        "mean_score_of_the_same_sentences_with_young": round(float(baseline.mean()), 3),
        "by_term": terms,
    }


def record(scorer: Scorer, training: dict[str, Any], weights: Path, measured: dict[str, Any]) -> None:
    """Write what was measured, and how the scorer was trained, to the JSON beside its weights."""
    validity = {
        "scorer": f"{scorer.name} {scorer.version}",
        "revision": scorer.revision,
        "training": training,
        **measured,
    }
    write_atomically(weights.with_suffix(".json"), (json.dumps(validity, indent=1, ensure_ascii=False) + "\n").encode())


def main() -> None:
    # here, because train_ngram.py imports this file and has no use for torch
    from detoxlm.scorers import embedded, perspective_like, reader

    parser = argparse.ArgumentParser(
        description="Measure shipped scorers again; how they were trained stays on record."
    )
    shipped = {
        "embedded": embedded.WEIGHTS,
        "embedded:2": embedded.EARLIER,
        "perspective-like": perspective_like.WEIGHTS,
        "reader": reader.WEIGHTS,
    }
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="the data folder, read in place")
    what.add_argument("--readers", action="store_true", help="only what readers say, of data/machine_text")
    what.add_argument("--verdicts", choices=("dev", "test"), help="print that table of a part alone, and write nothing")
    parser.add_argument("--scorers", nargs="+", choices=shipped, default=list(shipped), help="[default: all]")
    arguments = parser.parse_args()
    for name in arguments.scorers:
        scorer = load_scorer(name, device="cpu")
        if arguments.verdicts:
            print(verdicts(scorer, arguments.verdicts))
            continue
        assert scorer.validity is not None, "it ships with one"
        training = scorer.validity["training"]
        if arguments.readers:
            own = ("scorer", "revision", "training")  # `record` writes these
            measured = {key: value for key, value in scorer.validity.items() if key not in own}
            measured["reader"] = reader_entry(scorer)
            print(verdicts(scorer))
        else:
            measured = measure(scorer, arguments.data, training["seed"])
        record(scorer, training, shipped[name], measured)
        print(f"{name}: {shipped[name].with_suffix('.json')}")


if __name__ == "__main__":
    main()
