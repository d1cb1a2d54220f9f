"""The API's two methods: what a comment is answered with, by its attributes, languages and sentences."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from detoxlm.sentences import sentences
from detoxlm.serve.languages import Detector, is_english
from detoxlm.serve.messages import ANALYZE, SUGGEST, read
from detoxlm.serve.refusals import api_error, shown
from detoxlm.serve.texts import text_of_html

_NAMES = (
    "TOXICITY SEVERE_TOXICITY IDENTITY_ATTACK INSULT PROFANITY THREAT SEXUALLY_EXPLICIT FLIRTATION ATTACK_ON_AUTHOR "
    "ATTACK_ON_COMMENTER INCOHERENT INFLAMMATORY LIKELY_TO_REJECT OBSCENE SPAM UNSUBSTANTIAL AFFINITY COMPASSION "
    "CURIOSITY NUANCE PERSONAL_STORY REASONING RESPECT"
)
#: Attributes of the API, each with a twin `NAME_EXPERIMENTAL`. Those that the scorer lacks are refused as not there;
#: any other name as unknown.
ATTRIBUTES = frozenset(_NAMES.split())
_SCORE = "PROBABILITY"


@dataclass(frozen=True)
class Comment:
    """A comment as it is scored."""

    text: str
    #: For each character of the text, and its end, the place in the comment as it was sent.
    origins: list[int] | range


class Analyzer:
    """Answers `comments:analyze` and `comments:suggestscore`; keeps nothing of either."""

    def __init__(
        self,
        score: Callable[[list[str], bool], Awaitable[np.ndarray]],
        scorer: str,
        dimensions: tuple[str, ...],
        detector: Detector,
        max_bytes: int,
    ) -> None:
        """Take what scores texts, as `Batcher.score`, and the longest comment in bytes of UTF-8."""
        self._score = score
        self._scorer = scorer
        #: The column of each attribute.
        self.attributes = {name.upper(): column for column, name in enumerate(dimensions)}
        self._detector = detector
        self._max_bytes = max_bytes

    async def analyze(self, body: bytes, patient: bool = False) -> dict[str, Any]:
        """Return the answer to a request of `comments:analyze`; `patient`: it waits for room in a full queue.

        Raises:
            RefusedError: it is malformed, or asks for what there is not.
            QueueFullError, Exception: as `Batcher.score`.
        """
        given = read(body, ANALYZE)
        comment = self._comment(given)
        wanted = self._wanted(given)
        detected = self._detector.detect(comment.text)
        languages = given.get("languages") or [detected.language if detected.other else "en"]
        foreign = [tag for tag in languages if not is_english(tag)]
        if foreign and not given.get("dropUnsupportedAttributes"):
            field = "requestedLanguages" if given.get("languages") else "detectedLanguages"
            name = next(iter(wanted), "TOXICITY")
            raise api_error(
                f"Attribute {name} does not support request languages: {', '.join(map(shown, foreign[:10]))}",
                "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
                languageNotSupportedByAttributeError={field: languages, "attribute": name},
            )
        answer: dict[str, Any] = {"languages": languages, "detectedLanguages": [detected.language]}
        if "clientToken" in given:
            answer["clientToken"] = given["clientToken"]
        if not foreign and wanted:
            found = await self._scores(comment, wanted, given.get("spanAnnotations", False), patient)
            if found:
                answer = {"attributeScores": found, **answer}
        return answer

    def suggest(self, body: bytes) -> dict[str, Any]:
        """Return the answer to a request of `comments:suggestscore`, of which nothing is kept.

        Raises:
            RefusedError: it is malformed, or has no comment or scores.
        """
        given = read(body, SUGGEST)
        comment = self._comment(given)
        if not given.get("attributeScores"):
            raise api_error("Missing attribute_scores")
        detected = [self._detector.detect(comment.text).language]
        answer = {"detectedLanguages": detected, "requestedLanguages": given.get("languages") or detected}
        return {**answer, "clientToken": given["clientToken"]} if "clientToken" in given else answer

    def _comment(self, given: dict[str, Any]) -> Comment:
        sent = given.get("comment", {}).get("text", "")
        if len(sent.encode()) > self._max_bytes:
            raise api_error("Comment text too long.", "COMMENT_TOO_LONG")
        if given.get("comment", {}).get("type") == "HTML":
            comment = Comment(*text_of_html(sent))
        else:
            comment = Comment(sent, range(len(sent) + 1))
        if not comment.text.strip():
            raise api_error("Comment must be non-empty.", "COMMENT_EMPTY")
        return comment

    def _wanted(self, given: dict[str, Any]) -> dict[str, float | None]:
        """Return the attributes that are asked for and are there, each with its threshold."""
        asked = given.get("requestedAttributes")
        if not asked:
            raise api_error("Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES")
        wanted: dict[str, float | None] = {}
        for name, options in asked.items():
            if name not in self.attributes:
                known = name.removesuffix("_EXPERIMENTAL") in ATTRIBUTES
                if known and given.get("dropUnsupportedAttributes"):
                    continue
                why = f" (the Perspective API had it, the scorer {self._scorer} has not)" if known else ""
                raise api_error(
                    f"Unknown requested attribute: {shown(name)}{why}. Known here: {', '.join(self.attributes)}."
                )
            kind = options.get("scoreType", _SCORE)
            if kind not in (_SCORE, "SCORE_TYPE_UNSPECIFIED"):
                raise api_error(f"Requested score type {kind} is not supported by attribute {name}")
            wanted[name] = options.get("scoreThreshold")
        return wanted

    async def _scores(
        self, comment: Comment, wanted: dict[str, float | None], by_sentence: bool, patient: bool
    ) -> dict[str, Any]:
        """Return the scores of the attributes that reach their thresholds."""
        spans = sentences(comment.text) if by_sentence else [(0, len(comment.text))]
        texts = [comment.text, *(comment.text[begin:end] for begin, end in spans)]
        different = list(dict.fromkeys(texts))
        table = await self._score(different, patient)
        rows = [table[different.index(text)] for text in texts]
        found = {}
        for name, threshold in wanted.items():
            summary, *parts = (float(row[self.attributes[name]]) for row in rows)
            if threshold is not None and summary < threshold:
                continue
            said = [
                {"begin": comment.origins[begin], "end": comment.origins[end], "score": _said(score)}
                for (begin, end), score in zip(spans, parts, strict=True)
            ]
            found[name] = {"spanScores": said, "summaryScore": _said(summary)}
        return found


def _said(score: float) -> dict[str, Any]:
    return {"value": score, "type": _SCORE}
