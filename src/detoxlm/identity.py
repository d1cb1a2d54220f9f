"""Which groups of people a text mentions: our own list of everyday identity terms, matched as whole words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

#: Group -> its terms. `/` parts the forms of one term (the first names it), `_` stands for a space or a hyphen.
#: Neutral words only: a slur in a text is a reason to call it toxic, not a mention to be fair about.
IDENTITY_GROUPS: dict[str, str] = {
    "women": "woman/women girl/girls female/females lady/ladies",
    "men": "man/men boy/boys male/males",
    "gay": "gay/gays homosexual/homosexuals",
    "lesbian": "lesbian/lesbians",
    "bisexual": "bisexual/bisexuals pansexual",
    "transgender": "transgender trans transsexual/transsexuals",
    "queer": "queer lgbt lgbtq nonbinary/non_binary intersex",
    "straight": "straight heterosexual/heterosexuals",
    "black": "black/blacks african_american/african_americans",
    "african": "african/africans nigerian/nigerians somali/somalis",
    "white": "white/whites caucasian/caucasians",
    "european": "european/europeans",
    "american": "american/americans",
    "asian": "asian/asians chinese japanese korean/koreans vietnamese filipino/filipinos",
    "indian": "indian/indians pakistani/pakistanis",
    "latino": "latino/latinos latina/latinas latinx hispanic/hispanics mexican/mexicans",
    "arab": "arab/arabs middle_eastern turkish iranian/iranians palestinian/palestinians",
    "indigenous": "indigenous native_american/native_americans aboriginal/aboriginals",
    "jewish": "jewish jew/jews israeli/israelis",
    "muslim": "muslim/muslims islamic",
    "christian": "christian/christians catholic/catholics protestant/protestants",
    "hindu": "hindu/hindus",
    "buddhist": "buddhist/buddhists",
    "sikh": "sikh/sikhs",
    "atheist": "atheist/atheists",
    "disabled": "disabled paralyzed/paralysed wheelchair/wheelchairs",
    "deaf": "deaf",
    "blind": "blind",
    "autistic": "autistic",
    "mentally ill": "mentally_ill schizophrenic bipolar",
    "immigrants": "immigrant/immigrants migrant/migrants foreigner/foreigners",
    "refugees": "refugee/refugees",
    "old": "old elderly",
    "young": "young teenage/teenager/teenagers",
}


def _terms() -> dict[str, tuple[str, str]]:
    """Form (words parted by one space) -> (term, group)."""
    found: dict[str, tuple[str, str]] = {}
    for group, terms in IDENTITY_GROUPS.items():
        for entry in terms.split():
            forms = [form.replace("_", " ") for form in entry.split("/")]
            found |= dict.fromkeys(forms, (forms[0], group))
    return found


_FORMS = _terms()
#: Letters and digits of any script: an apostrophe or a hyphen ends a word, so "woman's" mentions a woman.
_WORD = re.compile(r"[^\W_]+")


def mentioned_terms(texts: Sequence[str]) -> list[frozenset[str]]:
    """Return the identity terms that each text mentions, as the first form of each: `women` counts as `woman`.

    Terms are matched as whole words in any case, never inside one. The words are all that is looked at: a black cat
    counts as a mention of `black`.
    """
    return [frozenset(_FORMS[form][0] for form in _forms(text)) for text in texts]


def mentioned_groups(texts: Sequence[str]) -> list[frozenset[str]]:
    """Return the keys of `IDENTITY_GROUPS` that each text mentions; see `mentioned_terms`."""
    return [frozenset(_FORMS[form][1] for form in _forms(text)) for text in texts]


def _forms(text: str) -> set[str]:
    words = _WORD.findall(text.casefold())
    pairs = (f"{first} {second}" for first, second in itertools.pairwise(words))
    return {form for form in (*words, *pairs) if form in _FORMS}
