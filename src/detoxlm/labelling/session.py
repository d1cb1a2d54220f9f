"""One reader's way through the texts of a file: which is next, what has been said, and one step back."""

from __future__ import annotations

import random
from collections.abc import Sequence

from detoxlm.errors import UsageError
from detoxlm.labels.files import LabelFile, Verdict, counted
from detoxlm.labels.texts import Readable


class Session:
    """The texts that are not labelled yet, in an order that the seed alone decides."""

    def __init__(self, texts: Sequence[Readable], file: LabelFile, seed: int) -> None:
        """Begin, or go on where the file of labels ends.

        Raises:
            UsageError: the file has labels, and none of them is of these texts.
        """
        self._file = file
        self._texts = {text.key: text for text in texts}
        done = {label.key for label in file.labels}
        #: Labels in the file that are of other texts: they stay as they are.
        self.others = len(done - self._texts.keys())
        if done and self.others == len(done):
            raise UsageError(
                f"labels: {file.path} has {len(done):,} labels, and none is of these texts. Name the file of texts "
                "that they are of, or another -o."
            )
        order = list(self._texts.values())
        random.Random(seed).shuffle(order)
        self._left = [text for text in reversed(order) if text.key not in done]  # the next one is the last

    @property
    def current(self) -> Readable | None:
        """The text to be labelled next; None: all are."""
        return self._left[-1] if self._left else None

    @property
    def total(self) -> int:
        """How many texts there are."""
        return len(self._texts)

    @property
    def done(self) -> int:
        """How many of them are labelled."""
        return self.total - len(self._left)

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many of them are labelled so."""
        return counted([label for label in self._file.labels if label.key in self._texts])

    def label(self, verdict: Verdict) -> None:
        """Label the current text, which there must be; it is on disk when this returns.

        Raises:
            DetoxError: the label cannot be written.
        """
        self._file.append(self._left[-1].key, verdict)
        self._left.pop()

    def undo(self) -> bool:
        """Take the last label back and make its text the current one; False: there is none to take back.

        Raises:
            DetoxError: the file of labels cannot be written.
        """
        if not self._file.labels or self._file.labels[-1].key not in self._texts:
            return False
        self._left.append(self._texts[self._file.undo().key])
        return True

    def summary(self) -> str:
        """Say how far it is: `12 of 300 texts labelled: 3 toxic, 8 not toxic, 1 unsure`."""
        said = ", ".join(f"{count:,} {verdict}" for verdict, count in self.counts.items())
        return f"{self.done:,} of {self.total:,} texts labelled: {said}"
