"""What detoxlm.data reads, and what it says about what it cannot read."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detoxlm import data
from detoxlm.data import BadRow, Example, LabelledText, Loaded, Pair
from detoxlm.errors import UsageError

SHARED = Path(os.environ.get("DETOXLM_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")


def error_of(read, *args, **options):
    with pytest.raises(UsageError) as caught:
        read(*args, **options)
    return str(caught.value)


def test_importing_it_imports_nothing_heavy():
    code = "import sys, detoxlm.data; print({'torch', 'transformers', 'pyarrow', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---- What is made of rows


def test_prompt_comes_before_text_and_column_before_both(write):
    path = write("p.jsonl", [{"text": "t", "prompt": "p", "other": "o"}])
    assert data.read_prompts(path).items == ["p"]
    assert data.read_prompts(path, column="other").items == ["o"]
    assert data.read_prompts(write("t.jsonl", [{"text": "t"}])).items == ["t"]


def test_nested_texts_of_realtoxicityprompts(write, tmp_path):
    rows = [
        {"prompt": {"text": "a", "toxicity": 0.25}, "continuation": {"text": " b", "toxicity": None}},
        {"prompt": {"text": "c", "toxicity": None}, "continuation": {"text": " d", "toxicity": 1.0}},
    ]
    parquet = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    for path in (write("r.jsonl", rows), parquet):
        assert data.read_prompts(path).items == ["a", "c"]
        assert data.read_prompts(path, column="continuation").items == [" b", " d"]
        assert data.read_corpus(path).items == [Example("a", " b"), Example("c", " d")]
        assert data.read_texts(path, column="prompt").items == [LabelledText("a", 0.25), LabelledText("c", None)]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.5, 0.5),
        (1, 1.0),
        (True, 1.0),
        (False, 0.0),
        ("1", 1.0),
        ("0", 0.0),
        ("0.25", 0.25),
        ("True", 1.0),
        ("false", 0.0),
        (None, None),
        ("", None),
    ],
)
def test_labels(write, value, label):
    assert data.read_texts(write("t.jsonl", [{"text": "a", "toxic": value}])).items == [LabelledText("a", label)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.5, "label `toxicity` is 1.5, outside [0, 1]"),
        (-1, "label `toxicity` is -1, outside [0, 1]"),
        (float("nan"), "label `toxicity` is nan, outside [0, 1]"),
        ("very", "label `toxicity` is 'very', not a number"),
        ([1], "label `toxicity` is [1], not a number"),
        (10**400, "label `toxicity` is 1000000000000000000000000000000000000000, not a number"),
    ],
)
def test_bad_labels(write, value, reason):
    path = write("t.jsonl", [{"text": "a", "toxicity": 0}, {"text": "b", "toxicity": value}])
    assert error_of(data.read_texts, path).startswith(f"{path}:2: {reason}.")
    assert data.read_texts(path, skip_bad_rows=True).skipped == [BadRow(2, reason)]


@pytest.mark.parametrize("column", data.LABEL_COLUMNS)
def test_label_columns(write, column):
    assert data.read_texts(write("t.csv", f"text,{column}\na,0.75\n")).items == [LabelledText("a", 0.75)]


def test_texts_without_labels(write):
    assert data.read_texts(write("t.txt", "a\n\nb\n")).items == [LabelledText("a", None), LabelledText("b", None)]
    assert data.read_texts(write("t.jsonl", [{"body": "a"}]), column="body").items == [LabelledText("a", None)]


def test_pairs(write):
    assert data.read_pairs(write("a.jsonl", [{"toxic": "t", "nontoxic": "n"}])).items == [Pair("t", "n", None)]
    rows = [{"chosen": "n", "rejected": "t", "prompt": p} for p in ("p", "", None, {"text": "q"})]
    prompts = [pair.prompt for pair in data.read_pairs(write("b.jsonl", rows)).items]
    assert prompts == ["p", None, None, "q"]
    assert data.read_pairs(write("c.csv", "prompt,chosen,rejected\np,n,t\n")).items == [Pair("t", "n", "p")]


def test_columns_beside_a_text_are_found_in_any_case_as_the_text_is(write):
    rows = [{"Prompt": "p", "Chosen": "n", "Rejected": "t"}]
    for path in (write("a.csv", "Prompt,Chosen,Rejected\np,n,t\n"), write("a.jsonl", rows)):
        assert data.read_pairs(path).items == [Pair("t", "n", "p")]
    for header in ("Text,Label", "text,Label", "TEXT, label ", "text,LABEL"):
        assert data.read_texts(write("t.csv", f"{header}\na,0.25\n")).items == [LabelledText("a", 0.25)], header
    both = write("b.csv", "text,Label,label\na,0.25,0.5\n")
    assert data.read_texts(both).items == [LabelledText("a", 0.5)], "a column that is called just so comes first"
    family = write("f.csv", "text,label,Toxicity\na,0.25,0.5\n")
    assert data.read_texts(family).items == [LabelledText("a", 0.25)], "and so does one that may stand for it"
    ruled = write("r.jsonl", [{"Rule": "Go."}])
    assert data.read_prompts(ruled, column="Rule").items == ["Go."], "a text may be called as a mark of texts is"
    nested = write("n.jsonl", [{"Said": {"text": "a", "toxicity": 1}}])
    assert data.read_texts(nested, column="said").items == [LabelledText("a", 1.0)]
    turns = [{"role": "user", "content": "Go."}]
    row = {"Messages": turns, "Kind": "plain", "Rule": {"lower": True}}
    (asked,) = data.read_prompts(write("m.jsonl", [row])).items
    assert (asked, asked.kind, asked.rule) == ("Go.", "plain", {"lower": True})
    assert "no list of turns" in error_of(data.read_prompts, write("e.jsonl", [{"Messages": []}]))


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("he did n't , you know . ", "he didn't, you know. "),
        ("what ! ? it 's ( so ) bad ... ok", "what!? it's (so) bad... ok"),
        (" , and then : 'so what' , .5 of it", " , and then: 'so what', .5 of it"),
        ("see http://a.b :-) :) \n . new line", "see http://a.b :-) :) \n . new line"),
        ("Nothing to do here, is there?", "Nothing to do here, is there?"),
    ],
)
def test_pairs_lose_the_spaces_that_tokenised_corpora_leave_on_one_side(write, text, closed):
    (pair,) = data.read_pairs(write("a.jsonl", [{"toxic": text, "nontoxic": "a"}])).items
    assert pair.toxic == closed


def test_pairs_name_both_schemas_and_offer_no_column_option(write):
    message = error_of(data.read_pairs, write("p.txt", "only texts\n"))
    assert "no column `toxic` + `nontoxic` or `rejected` + `chosen`; found: `text`." in message
    assert "--column" not in message


def test_corpus(write):
    assert data.read_corpus(write("c.txt", "a\n\n \nb\n")).items == [Example(None, "a"), Example(None, "b")]
    assert data.read_corpus(write("c.jsonl", [{"text": "a"}])).items == [Example(None, "a")]
    assert data.read_corpus(write("o.jsonl", [{"body": "a"}]), column="body").items == [Example(None, "a")]
    for name in ("completion", "continuation", "response"):
        assert data.read_corpus(write(f"{name}.csv", f"prompt,{name}\np, c\n")).items == [Example("p", " c")]


# ---- limit, skipping


def test_limit_stops_before_a_later_bad_row_and_hashes_the_whole_file(write):
    path = write("p.txt", b"a\nb\n\xff\n")
    loaded = data.read_prompts(path, limit=2)
    assert loaded.items == ["a", "b"]
    assert loaded.sha256 == hashlib.sha256(b"a\nb\n\xff\n").hexdigest()
    assert data.read_prompts(path, limit=9, skip_bad_rows=True).items == ["a", "b"]


def test_a_limit_below_one_is_refused(write):
    assert error_of(data.read_prompts, write("p.txt", "a\n"), limit=0).startswith("limit: 0 is too few prompts")


def test_skipped_rows_are_described_in_one_line(write):
    path = write("p.jsonl", '{"prompt": "a"}\n{"prompt": " "}\n\n{"prompt": 3}\n')
    loaded = data.read_prompts(path, skip_bad_rows=True)
    assert loaded.items == ["a"]
    assert data.describe_skipped(loaded) == (
        f"{path}: 2 of 3 rows skipped (line 2: `prompt` is an empty text; line 4: `prompt` is 3, not a text)"
    )
    many = Loaded(["a"], [BadRow(n, "r") for n in range(1, 6)], "f", None)
    assert data.describe_skipped(many) == "f: 5 of 6 rows skipped (line 1: r; line 2: r; line 3: r; …)"
    assert data.describe_skipped(Loaded(["a"], [], "f", None)) is None


def test_all_rows_bad_is_an_error_also_when_skipping(write):
    path = write("p.jsonl", '{"prompt": ""}\n[]\n')
    message = error_of(data.read_prompts, path, skip_bad_rows=True)
    assert message == (
        f"prompts: no usable row: {path}: 2 of 2 rows skipped "
        "(line 1: `prompt` is an empty text; line 2: not a JSON object but [])."
    )


# ---- Errors


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": ""}', "`prompt` is an empty text"),
        (b'{"prompt": " \\n\\u00a0"}', "`prompt` is an empty text"),
        (b'{"prompt": null}', "`prompt` is None, not a text"),
        (b'{"prompt": ["a"]}', "`prompt` is ['a'], not a text"),
        (b'{"prompt": {"txt": "a"}}', "`prompt` is {'txt': 'a'}, not a text"),
        (b'{"prompt": {"text": null}}', "`prompt` is None, not a text"),
        (b'{"prompt": "\\ud83d"}', "`prompt` holds half a character (an unpaired surrogate)"),
        (b'{"text": "a", "id": 1}', "no column `prompt`; found: `text`, `id`; name another with --column"),
        (b'{"prompt": "a"', "not valid JSON (an object a line is expected): Expecting ',' delimiter"),
        (b'"a"', "not a JSON object but 'a'"),
        (b"null", "not a JSON object but None"),
        (b'{"prompt": "caf\xe9"}', "not UTF-8 (byte 0xe9)"),
        (b"[" * 100_000, "not valid JSON (an object a line is expected): maximum recursion depth exceeded"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write, line, reason):
    path = write("p.jsonl", b'{"prompt": "a"}\n\n' + line + b'\n{"prompt": "b"}\n')
    message = error_of(data.read_prompts, path)
    assert message.startswith(f"{path}:3: {reason}")
    assert message.endswith("Mend it or use --skip-bad-rows.")
    loaded = data.read_prompts(path, skip_bad_rows=True)
    assert loaded.items == ["a", "b"]
    assert [bad.line for bad in loaded.skipped] == [3]
    message.encode()  # can be printed


def test_a_wrong_schema_names_the_columns_and_the_option(write):
    path = write("p.jsonl", [{"sentence": "a", "score": 1}])
    assert error_of(data.read_prompts, path) == (
        f"{path}:1: no column `prompt` or `messages` or `text`; found: `sentence`, `score`; name another with "
        "--column. Mend it or use --skip-bad-rows."
    )
    assert error_of(data.read_texts, path, column="body").startswith(f"{path}:1: no column `body`; found: `sentence`")
    assert "`prompt` + `response`; found: `sentence`, `score`" in error_of(data.read_corpus, path)
    wide = write("w.jsonl", [{f"c{n}": "a" for n in range(50)}])
    assert "`c11`, …; name" in error_of(data.read_prompts, wide)


def test_the_first_row_decides_on_the_columns(write):
    path = write("p.jsonl", [{"id": 1}, {"text": "a"}, {"prompt": "b"}, {"text": "c", "prompt": "d"}])
    loaded = data.read_prompts(path, skip_bad_rows=True)
    assert loaded.items == ["a", "c"]
    assert [bad.line for bad in loaded.skipped] == [1, 3]


# ---- Plain text


def test_plain_text(write, tmp_path):
    assert data.read_plain_text(write("a.txt", "\ufeffone\r\n\u2028two\n")) == "one\n\u2028two\n"
    path = write("b.txt", b"one\ntwo\nthr\xe9e\n")
    assert error_of(data.read_plain_text, path).startswith(f"{path}:3: not UTF-8 (invalid continuation byte).")
    assert error_of(data.read_plain_text, write("c.txt", " \n")).startswith("text: ")
    assert "No such file" in error_of(data.read_plain_text, tmp_path / "no.txt")
    assert "Is a directory" in error_of(data.read_plain_text, tmp_path)


# ---- What is built in

STRONG = re.compile(
    r"fuck|shit|bitch|\b(dumb|jack)?ass(es|hole|holes)?\b|dick|\bcrap\b|\bdamn|goddamn|bastard|prick|\bcock\b|\bballs\b",
    re.I,
)


def words(text):
    return re.findall(r"\w+", text.lower())


def trigrams(text):
    tokens = words(text)
    return {tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)}


def test_builtin_prompts_are_many_and_balanced():
    for split in ("fit", "measure"):
        mild, provocative = (data.builtin_prompts(split, kind) for kind in ("mild", "provocative"))
        assert len(mild) == len(provocative) >= 70
        assert sorted(data.builtin_prompts(split)) == sorted(mild + provocative)
        assert data.builtin_prompts(split)[:4] == [mild[0], provocative[0], mild[1], provocative[1]]
        assert sum(bool(STRONG.search(prompt)) for prompt in provocative) >= 55
        assert sum(bool(STRONG.search(prompt)) for prompt in mild) == 0
    texts = data.builtin_prompts("fit") + data.builtin_prompts("measure")
    assert len(set(texts)) == len(texts) >= 280


def test_builtin_prompts_are_cut_in_mid_sentence():
    for prompt in data.builtin_prompts("fit") + data.builtin_prompts("measure"):
        assert prompt == prompt.strip() and prompt[-1].isalpha(), prompt
        assert 5 <= len(prompt.split()) <= 20, prompt


def test_builtin_splits_share_no_near_duplicates():
    fit = data.builtin_prompts("fit")
    openings = {tuple(words(prompt)[:3]) for prompt in fit}
    for measured in data.builtin_prompts("measure"):
        assert tuple(words(measured)[:3]) not in openings, measured
        mine = trigrams(measured)
        for fitted in fit:
            theirs = trigrams(fitted)
            assert len(mine & theirs) / len(mine | theirs) < 0.5, (measured, fitted)


def test_neutral_text():
    text = data.neutral_text()
    assert 3500 <= len(text.split()) <= 4500
    articles = text.strip().split("\n\n")
    assert len(articles) >= 20
    assert len({tuple(article.split()[:3]) for article in articles}) == len(articles)
    assert not STRONG.search(text)


# ---- The shared data, as its README counts it


@pytest.mark.parametrize(
    ("read", "name", "rows"),
    [
        (data.read_corpus, "rtp/train.jsonl", 4465),
        (data.read_prompts, "rtp/prompts_challenge_dev.jsonl", 400),
        (data.read_prompts, "rtp/prompts_nontoxic_dev.jsonl", 1196),
        (data.read_pairs, "paradetox/train.jsonl", 15783),
        (data.read_pairs, "paradetox/dev.jsonl", 1978),
        (data.read_pairs, "hh_harmless/pairs.jsonl", 2312),
        (data.read_texts, "jigsaw/comments.jsonl", 12180),
        (data.read_texts, "toxic_spans/train.jsonl", 8629),
        (data.read_texts, "civil/annotated.jsonl", 14095),
        (data.read_texts, "wikipedia_talk/scored.jsonl", 19842),
        (data.read_texts, "hatemoji/train.jsonl", 4728),
        (data.read_texts, "hatemoji/validation.jsonl", 591),
        (data.read_texts, "madlibs/sample.jsonl", 5000),
        (data.read_texts, "profanity/profanity_en.csv", 1598),
    ],
)
def test_shared_files(read, name, rows):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here; set DETOXLM_SHARED_DATA")
    loaded = read(path, skip_bad_rows=True)
    assert len(loaded.items) + len(loaded.skipped) == rows
    assert loaded.skipped == []


def test_a_label_that_is_no_number_is_refused(write):
    path = write("t.csv", "text,label\nhello there,hateful\ngo away,4\n")
    with pytest.raises(UsageError, match="label `label` is 'hateful'"):
        data.read_texts(path)
