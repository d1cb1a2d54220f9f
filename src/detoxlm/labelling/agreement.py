"""How far two readers agree on the texts that both have labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.labels.files import VERDICTS, Label, Verdict, read_labels
from detoxlm.labels.texts import Key, Readable
from detoxlm.metrics.bootstrap import bootstrap, numbered
from detoxlm.metrics.kappa import cohens_kappa
from detoxlm.results import Estimate


@dataclass(frozen=True)
class Difference:
    """A text that two readers label differently."""

    key: Key
    said: tuple[Verdict, Verdict]
    #: The text, where the file that has it was given and has it.
    text: Readable | None


@dataclass(frozen=True)
class Agreement:
    """Two readers' labels of the same texts; intervals resample prompts, because texts of one prompt are alike."""

    readers: tuple[str, str]
    #: Texts that both have labelled, and those that one of the two alone has.
    both: int
    only: tuple[int, int]
    #: Texts by the first reader's label (rows) and the second's, both in the order of `VERDICTS`.
    table: list[list[int]]
    #: Share of the texts that both label alike.
    same: Estimate
    #: Cohen's kappa of all three labels; None: a reader gave all texts one label.
    kappa: Estimate | None
    #: That of the texts that are clear to both, toxic or not; None as above, or there are none.
    clear_kappa: Estimate | None
    differences: list[Difference]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; texts where they are known."""
        return {
            "readers": list(self.readers),
            "texts": {"both": self.both, "only_first": self.only[0], "only_second": self.only[1]},
            "labels": list(VERDICTS),
            "table": self.table,
            "same": self.same.model_dump(),
            "kappa": self.kappa and self.kappa.model_dump(),
            "kappa_of_clear": self.clear_kappa and self.clear_kappa.model_dump(),
            "differences": [
                {
                    "text_sha256": one.key[0],
                    "prompt_sha256": one.key[1],
                    "labels": list(one.said),
                    **({} if one.text is None else {"prompt": one.text.prompt, "text": one.text.text}),
                }
                for one in self.differences
            ],
        }


def agreement(first: Path, second: Path, texts: Sequence[Readable] = (), *, seed: int = 0) -> Agreement:
    """Compare two files of labels; `texts` are shown where the two differ.

    Raises:
        UsageError: a file that cannot be used (see `detoxlm.labels.files.read_labels`), or no text that both label.
    """
    one, other = ({label.key: label for label in read_labels(path)} for path in (first, second))
    shared = [key for key in one if key in other]
    if not shared:
        raise UsageError(f"agreement: {first} and {second} label no text in common; give two readings of one file.")
    cells = np.zeros((len(shared), len(VERDICTS), len(VERDICTS)))
    for i, key in enumerate(shared):
        cells[i, VERDICTS.index(one[key].verdict), VERDICTS.index(other[key].verdict)] = 1
    units = numbered([text if prompt is None else prompt for text, prompt in shared])
    counts = np.zeros((units.max() + 1, *cells.shape[1:]))
    np.add.at(counts, units, cells)
    return Agreement(
        readers=_readers(one, other, first, second),
        both=len(shared),
        only=(len(one) - len(shared), len(other) - len(shared)),
        table=counts.sum(0).astype(int).tolist(),
        same=bootstrap(np.trace(counts, axis1=1, axis2=2), counts.sum((1, 2)), proportion=True, seed=seed),
        kappa=cohens_kappa(counts, seed),
        clear_kappa=cohens_kappa(counts[:, :2, :2], seed),
        differences=_differences(one, other, shared, texts),
    )


def _readers(one: Mapping[Key, Label], other: Mapping[Key, Label], first: Path, second: Path) -> tuple[str, str]:
    """Their names where those differ, else the files'."""
    names = [next(iter(labels.values())).reader for labels in (one, other)]
    return (names[0], names[1]) if all(names) and names[0] != names[1] else (str(first), str(second))


def _differences(
    one: Mapping[Key, Label], other: Mapping[Key, Label], shared: Sequence[Key], texts: Sequence[Readable]
) -> list[Difference]:
    known = {text.key: text for text in texts}
    if known and not known.keys() & set(shared):
        raise UsageError("texts: none of those labels is of a text of the file; name the file that was labelled.")
    said = [(key, (one[key].verdict, other[key].verdict)) for key in shared]
    return [Difference(key, pair, known.get(key)) for key, pair in said if pair[0] != pair[1]]
