"""The sentence templates of the scorers' training set: the very texts that the shipped weights were trained on."""

import hashlib
import importlib
from dataclasses import astuple
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
#: SHA-256 of every text of seed 0 with its targets and its kind, in order. Whoever changes it trains the scorers again.
EXPECTED = "357120608802b25caab05f82642a3bbf0341a2bf3de256168eccecf68cad539f"
#: Stand-ins for rows of the profanity list (term, category, severity); the last two are of no group, and too mild.
TERMS = [
    ("zorb", "racial / ethnic slurs", 2.9),
    ("zorbs", "racial / ethnic slurs", 2.4),
    ("quindle snark", "disability", 2.3),
    ("vrelk", "sexual orientation / gender", 3.0),
    ("plonker", "general insults", 3.0),
    ("flimm", "religious offence", 1.0),
]


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        return list(importlib.import_module("scorer_templates").templates(0, TERMS))


def test_the_texts_are_those_that_the_scorers_were_trained_on(found):
    digest = hashlib.sha256()
    for template in found:
        digest.update(repr(astuple(template)).encode() + b"\n")
    assert (len(found), digest.hexdigest()) == (30480, EXPECTED)


def test_slurs_come_from_the_list_alone_and_no_slot_is_left_open(found):
    texts = [template.text.casefold() for template in found]
    assert not [text for text in texts if "{" in text or "a(n)" in text]
    assert any("vrelk" in text for text in texts)
    assert not any("plonker" in text or "flimm" in text for text in texts)
