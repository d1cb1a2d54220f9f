"""Fills the sentence templates of scorer_templates.toml, which says what they are for, with names, words and emoji."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SENTENCES = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, kw_only=True)
class Template:
    """One text with its targets; a label is None where the template says nothing about it."""

    text: str
    toxicity: float
    identity_attack: float | None = None
    insult: float | None = None
    profanity: float | None = None
    threat: float | None = None
    sexually_explicit: float | None = None
    kind: str


@dataclass(frozen=True)
class _Kind:
    """The keys of one kind, as the file describes them; `frames` is a frame a line."""

    count: int
    targets: dict[str, float]
    frames: str
    emoji: float = 0.05
    mood: str = "any"
    swears: bool = True


#: A clause can begin with these, so it may follow "because".
SUBJECTS = frozenset(
    ("i", "we", "you", "he", "she", "they", "it", "the", "this", "that", "these", "those", "my", "our", "your", "there")
)

#: Strong and mild swear words; they set the profanity label of every text, whatever its kind.
STRONG = re.compile(
    r"fuck|\bf[*u@v]*c?k\b|shit|sh[*1!]t|s\*\*t|\bass\b|asshole|arsehole|a\$\$|@ss|a\*\*|bitch|b[*!1]tch|cunt|c\*nt|"
    r"\bdick|d[*!]ck|cock(?:s|sucker)?\b|pussy|\btits?\b|motherf|bastard|whore|wh0re|slut|wanker|twat|prick|piss|\bhoes\b|"
    r"f u c k|stfu|gtfo|jackass|dumbass|badass|douche|\bwtf\b|lmfao",
    re.IGNORECASE,
)
MILD = re.compile(r"\b(?:damn|goddam\w*|da\*n|d@mn|hell|crap\w*|bloody|screw|suck\w*|bugger|scum\w*)\b", re.IGNORECASE)
SLOT = re.compile(r"\{(\w+)\}")
ARTICLE = re.compile(r"\ba\(n\) (?=(\W*)([\w]+))", re.IGNORECASE)
SENTENCE = re.compile(r"([.?!][\"']? +[\"']?)([a-z])")


def _slurs(terms: list[tuple[str, str, float]]) -> tuple[list[str], list[str]]:
    """Pick the slurs that read as nouns from the profanity list: singular forms and plural forms."""
    one: list[str] = []
    many: list[str] = []
    for term, category, severity in terms:
        # The list's sexual and general categories hold ordinary profanity, which the lists have already.
        if not any(word in category for word in ("racial", "orientation", "disab", "religious")):
            continue
        if severity < 2.2 or not re.fullmatch(r"[a-z]{3,}( [a-z]+)?", term):
            continue
        # Verb forms, abstract nouns and swear words make no noun slot.
        if re.search(r"(?:ing|ed|ness|it|[^k]y)$|^god|bitch|hoe", term):
            continue
        plural = re.search(r"[^s]s$|z$|spix$", term) is not None
        # The severest short forms are the common spellings; draw them more often.
        (many if plural else one).extend([term] * (4 if severity >= 2.8 and len(term) <= 9 else 1))
    # Most plurals of the list are regular, so the singular forms give more of them.
    many += [term + "s" for term in one if re.search(r"[^shyzx]$", term)]
    return one or ["idiot"], many or ["idiots"]


def _bare(plural: str, adjective: str) -> str:
    """Return the plural that can follow "all", "no" or "these": "the Irish" becomes "Irish people"."""
    return f"{adjective} people" if plural.startswith("the ") else plural


class _Filler:
    """Fills the frames' slots; all choices come from one seeded generator."""

    def __init__(self, sentences: dict[str, Any], seed: int, terms: list[tuple[str, str, float]]) -> None:
        self.rng = random.Random(seed)
        self.people: list[list[str]] = sentences["identities"]
        self.others: list[list[str]] = sentences["non_protected"]
        self.moods: dict[str, list[str]] = sentences["moods"]
        self.emoji_words: dict[str, str] = sentences["emoji_words"]
        self.around: dict[str, list[str]] = sentences["around"]
        lists: dict[str, list[str]] = sentences["lists"]
        slurs, plurals = _slurs(terms)
        self.lists = {**lists, "slur": slurs, "slurs": plurals}
        # Words that keep their capital when a text is put in lower case.
        names = " ".join(word for words in (*self.people, *self.others, *lists.values()) for word in words)
        self.proper = set(re.findall(r"\b[A-Z][\w']*", names)) | {"I", "I'm", "I'll", "I'd", "I've"}
        self.proper |= {"God", "CD", "HIV", "Monday", "Saturday", "Sunday", "Friday", "Christmas", "IQ"}

    def fill(self, frame: str) -> str:
        """Return a frame with every slot filled; one person per text, and no filler twice where that can be helped."""
        rng = self.rng
        people = self.people
        if frame.startswith("@"):
            head, frame = frame.split(" ", 1)
            people = [row for row in self.people if row[3] in head[1:].split(",")]
        person, second = rng.sample(people, 2)
        other = rng.choice(self.others)
        fixed = {
            "G": person[0],
            "Gb": _bare(person[0], person[2]),
            "g": person[1],
            "J": person[2],
            "G2": second[0],
            "g2": second[1],
            "N": other[0],
            "Nb": other[0],
            "n": other[1],
            "a": "a(n)",
        }
        used: set[str] = set()

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in fixed:
                return fixed[name]
            choice = rng.choice(self.lists[name])
            if choice in used:
                choice = rng.choice(self.lists[name])
            used.add(choice)
            return choice

        text = frame
        while "{" in text:
            text = SLOT.sub(value, text)
        return _articles(text)

    def case(self, text: str) -> str:
        """Put the first word in lower case unless it is a name."""
        first = re.match(r"[\w']+", text)
        if first is None or first.group() in self.proper:
            return text
        return text[0].lower() + text[1:]

    def emoji(self, text: str, kind: _Kind) -> str:
        """Replace a word by its emoji, or append one or two from the kind's pool."""
        rng = self.rng
        words = [word for word in self.emoji_words if re.search(rf"\b{word}\b", text)]
        if words and rng.random() < 0.5:
            word = rng.choice(words)
            return re.sub(rf"\b{word}\b", self.emoji_words[word], text, count=1)
        mark = rng.choice(self.moods[kind.mood])
        return f"{text} {mark * rng.choice((1, 1, 1, 2, 3))}"

    def dress(self, text: str, kind: _Kind) -> str:
        """Give a filled frame the looks of a sentence, a chat line, a post or a model's continuation."""
        rng, around = self.rng, self.around
        style = rng.random()
        closed = text[-1] in "?!.\"'"
        if rng.random() < 0.08:
            text = f"{self.fill(rng.choice(around['leads']))} {self.case(text)}"
        if rng.random() < 0.06 and not closed:
            text = f"{text}{rng.choice((', ', ' '))}{rng.choice(around['trails'])}"
            closed = text[-1] == "?"
        if rng.random() < kind.emoji:
            text = self.emoji(text, kind)
            closed = True
        if style < 0.40:  # a sentence
            text = _capital(text)
            if not closed:
                text += rng.choices((".", "!", "", "..."), (70, 12, 15, 3))[0]
            if rng.random() < 0.22:
                before = self.fill(rng.choice(around["before"]))
                text = f"{before} {text}"
            if rng.random() < 0.15 and text[-1] in ".!?":
                text = f"{text} {_capital(self.fill(rng.choice(around['after'])))}"
        elif style < 0.68:  # what a model adds to a prompt: begins, and often ends, within a sentence
            text = self.case(text)
            word = re.match(r"[\w']+", text)
            clause = word is not None and word.group().lower() in SUBJECTS and not closed
            opener = rng.choice(around["clause_openers" if clause and rng.random() < 0.5 else "openers"])
            if opener.startswith(".") or opener.endswith('"'):
                text = _capital(text)
            text = opener + text
            if rng.random() < 0.4 and not closed:
                text += rng.choice(around["tails"])
            elif not closed and rng.random() < 0.5:
                text += "."
            if rng.random() < 0.5:
                text = text.lstrip()
        elif style < 0.88:  # chat: lower case throughout, little punctuation
            text = SENTENCE.sub(lambda m: m.group(1) + m.group(2), text)
            if rng.random() < 0.5:
                text = text.lower()
            if rng.random() < 0.35:
                text = re.sub(r"(\w)'(s|t|re|m|ll|ve|d)\b", r"\1\2", text)
            if rng.random() < 0.15 and not closed:
                text += rng.choice(("!!", "...", " ..", "!!!", " !"))
        elif style < 0.92:  # shouting
            text = text.upper() + ("" if closed else rng.choice(("!", "!!!", "", ".")))
        elif style < 0.96:  # a line of a list, a quote or a headline
            text = rng.choice(("- ", "> ", "* ", "1. ", "@{name} ", "RT: ", "Title: ", "Comment: ")) + _capital(text)
            text = _articles(SLOT.sub(lambda m: rng.choice(self.lists[m.group(1)]), text))
        else:
            text = _capital(text) + ("" if closed else ".")
        return text


def _articles(text: str) -> str:
    """Resolve every "a(n)" by the sound of the word behind it."""

    def article(match: re.Match[str]) -> str:
        word = match.group(2).lower()
        silent = word.startswith(("honest", "hour", "heir"))
        vowel = word[0] in "aeiou" and not re.match(r"uni|use|eu|one\b|ukr|ur\b|ug", word)
        ugly = word.startswith(("ugl", "unim", "undoc", "unciv", "untr", "uncle"))
        return ("an " if silent or ugly or vowel else "a ") if word else "a "

    return re.sub(r"\ba\(n\) *$", "a ", ARTICLE.sub(article, text)).replace("a(n)", "a")


def _capital(text: str) -> str:
    """Capitalise the first letter of a text and of each of its sentences."""
    text = re.sub(r"^([\"'(]?)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    return SENTENCE.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def _profanity(text: str) -> float:
    if STRONG.search(text):
        return 0.9
    return 0.45 if MILD.search(text) else 0.02


def templates(seed: int, terms: list[tuple[str, str, float]]) -> Iterator[Template]:
    """Yield about 30,000 distinct texts, `count` of each kind of the file, in an order that mixes the kinds.

    `terms` are rows of the profanity list (term, category, severity); the same seed and terms give the same texts.
    """
    sentences = tomllib.loads(SENTENCES.read_text(encoding="utf-8"))
    filler = _Filler(sentences, seed, terms)
    rng = filler.rng
    seen: set[str] = set()
    rows: list[Template] = []
    for name, keys in sentences["kinds"].items():
        kind = _Kind(**keys)
        frames = kind.frames.splitlines()
        made = 0
        # Frames without slots run out of distinct texts, so a kind may end below its count.
        for turn in range(kind.count * 6):
            if made == kind.count:
                break
            if turn % len(frames) == 0:
                rng.shuffle(frames)
            frame = frames[turn % len(frames)]
            text = filler.dress(filler.fill(frame), kind)
            key = re.sub(r"[\W_]+", "", text.casefold()) or text
            if key in seen:
                continue
            seen.add(key)
            made += 1
            toxicity = kind.targets["toxicity"]
            profanity: float | None = _profanity(text) if kind.swears else 0.05
            if profanity == 0.9:
                # Swearing makes an attack worse and leaves a friendly text mild at most.
                toxicity = toxicity + 0.3 * (1 - toxicity) if toxicity > 0.4 else max(toxicity, 0.2)
            elif "{slur" in frame:
                profanity = None  # raters differ on whether a slur is profane
            targets: dict[str, Any] = {**kind.targets, "toxicity": round(toxicity, 3), "profanity": profanity}
            rows.append(Template(text=text, kind=name, **targets))
    rng.shuffle(rows)
    yield from rows
