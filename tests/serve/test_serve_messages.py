"""What is read out of requests: messages, HTML, sentences, languages, batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detoxlm.scorers.adapter import DIMENSIONS
from detoxlm.sentences import MOST_SENTENCES, sentences
from detoxlm.serve.analysis import ATTRIBUTES
from detoxlm.serve.languages import Detector, is_english
from detoxlm.serve.messages import ANALYZE, read
from detoxlm.serve.metrics import Histogram
from detoxlm.serve.multipart import MOST_PARTS, parts_of
from detoxlm.serve.refusals import RefusedError
from detoxlm.serve.texts import text_of_html


def test_names_are_read_in_both_spellings_and_null_is_not_given() -> None:
    body = b"""{"comment": {"text": "a", "type": 2}, "requested_attributes": {"SOME_NAME": {"score_threshold": "0.5",
        "scoreType": null}}, "do_not_store": "true", "languages": "en", "context": null, "sessionId": null}"""
    assert read(b"\xef\xbb\xbf" + body, ANALYZE) == {
        "comment": {"text": "a", "type": "HTML"},
        "requestedAttributes": {"SOME_NAME": {"scoreThreshold": 0.5}},
        "doNotStore": True,
        "languages": ["en"],
    }


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a <b>bold</b> &lt;move&gt; &#233;&nbsp;", "a bold <move> é\xa0"),
        ("<p>one</p>\n<p>two<br/>three", "\none\n\n\ntwo\nthree"),
        ("<style>x{}</style>a<script>var e = '<b>';</script>b", "ab"),
        ("5 < 6 & 7 > 2", "5 < 6 & 7 > 2"),
        ("<!-- > no -->yes<!DOCTYPE html><?x?></>", "yes"),
        ("<a title='a > b' href=\"x\">c</a><b 5'>d", "cd"),
        ("I <3 you & AT&T &copy; &madeup; <unended href='x", "I <3 you & AT&T © &madeup; <unended href='x"),
        ("seen<!-- never ended", "seen"),
    ],
)
def test_html_is_read_with_the_place_of_every_character(source: str, text: str) -> None:
    found, places = text_of_html(source)
    assert found == text
    assert len(places) == len(found) + 1 and places == sorted(places)
    plain = [(c, source[place]) for c, place in zip(found, places, strict=False) if source[place] not in "<&"]
    assert all(c == there for c, there in plain) and (len(plain) > 0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("Dr. No met J. Smith, e.g. here. Yes.", ["Dr. No met J. Smith, e.g. here.", "Yes."]),
        ("It cost 3.50 at example.com... or so", ["It cost 3.50 at example.com... or so"]),
        ("\n a line\nanother \n\n", ["a line", "another"]),
        ("no mark", ["no mark"]),
        (" \n ", []),
    ],
)
def test_sentences_are_cut_at_their_marks_and_at_lines(text: str, parts: list[str]) -> None:
    assert [text[begin:end] for begin, end in sentences(text)] == parts


def test_the_last_of_many_sentences_takes_the_rest() -> None:
    text = "So. " * 5000
    spans = sentences(text)
    assert len(spans) == MOST_SENTENCES and spans[0] == (0, 3) and spans[-1] == (4 * 99, len(text) - 1)


@pytest.mark.parametrize(
    "text",
    [
        *("hi", "lol", "u r so dum", "omg ur sooo stpid i cant even belive it lmaooo kys", "la la la la la la la la"),
        *(
            "😀😀😀",
            "???",
            "wtf r u doin m8 u fkn donkey",
            "Mamma mia pizza pasta risotto",
            "ＹＯＵ ＩＤＩＯＴ",
            "𝓎𝑜𝓊 𝒾𝒹𝒾𝑜𝓉",
        ),
        *("GO BACK TO WHERE YOU CAME FROM", "Wallah habibi you the best bro inshallah we win tomorrow", "уоu іdіоt"),
        "The word Schadenfreude is German: Du bist ein Idiot means that you are one, and so it goes.",
    ],
)
def test_short_misspelt_and_mixed_english_is_never_refused(text: str, detector: Detector) -> None:
    assert not detector.detect(text).other


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Du bist ein verdammter Idiot und ich hasse dich", "de"),
        ("Eres un idiota y no quiero volver a verte nunca más en mi vida", "es"),
        ("tu es vraiment un imbécile, va te faire voir ailleurs", "fr"),
        ("ты идиот, иди отсюда", "ru"),
        ("你是个白痴", "zh"),
    ],
)
def test_what_is_surely_another_language_is_known(text: str, language: str, detector: Detector) -> None:
    found = detector.detect(text)
    assert found.other and found.language == language


def test_tags_of_english() -> None:
    assert all(map(is_english, ("en", "EN-us", "en_GB", "eng")))
    assert not any(map(is_english, ("", "de", "enm", "e")))


def batch(*parts: str, boundary: str = "b", end: str = "--b--") -> bytes:
    return "".join([f"--{boundary}\r\n{part}\r\n" for part in parts] + [end]).encode()


def test_parts_of_a_batch_are_read_and_what_could_split_a_header_is_dropped() -> None:
    inner = "POST /x?key=k%2Fk&alt=json HTTP/1.1\r\nHost: h\r\n\r\n{}"
    good = f"Content-Type: application/http\r\nContent-ID: <a + 1>\r\n\r\n{inner}"
    bad = "Content-ID: <a\rb: c>\r\n\r\nPOST /y HTTP/1.1\r\n\r\n"
    folded = bad.replace("\r", "\r\n ", 1)
    one, two, three = parts_of(batch(good, bad, folded), 'multipart/mixed; boundary="b"')
    assert (one.identity, one.method, one.path, one.query) == ("<a + 1>", "POST", "/x", {"key": "k/k", "alt": "json"})
    assert one.body == b"{}" and one.headers["Host"] == "h"
    assert two.identity is None and two.path == "/y" and two.body == b""
    assert three.identity == "<a b: c>"


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", "application/json", "multipart/mixed"),
        (b"", "multipart/mixed", "multipart/mixed"),
        (b"--b\r\n\r\nPOST / HTTP/1.1\r\n", "multipart/mixed; boundary=b", "cut short"),
        (batch("\r\nnothing"), "multipart/mixed; boundary=b", "Part 1 of the batch does not begin"),
        (batch("\r\nPOST http://[ HTTP/1.1\r\n\r\n"), "multipart/mixed; boundary=b", "no address"),
        (batch(*["x"] * (MOST_PARTS + 1)), "multipart/mixed; boundary=b", "at most 1000"),
    ],
    ids=range(6),
)
def test_what_is_no_batch_is_refused(body: bytes, kind: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        parts_of(body, kind)
    assert refused.value.code == 400


def test_a_bucket_counts_all_up_to_its_end() -> None:
    histogram: Any = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.add(value)
    assert histogram.lines("x") == [
        *('x_bucket{le="1"} 2', 'x_bucket{le="2"} 3', 'x_bucket{le="+Inf"} 4'),
        *("x_sum 12.000000", "x_count 4"),
    ]


def test_the_page_tells_which_attributes_are_here() -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving-scores.md").read_text("utf-8")
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("|") and "_" in line]
    here = next(names for names, told, _ in rows if "from `perspective-like` and `embedded`" in told)
    assert set(here.strip().split(", ")) == {name.upper() for name in DIMENSIONS}
    absent = next(names for names, told, _ in rows if "refused by name" in told).replace(" and older ones", "")
    assert set(absent.strip().split(", ")) - {"`…_EXPERIMENTAL`"} < ATTRIBUTES - {name.upper() for name in DIMENSIONS}
