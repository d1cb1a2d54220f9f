"""Texts that were judged, in the layouts of files that people have."""

import pytest

from detoxlm.judged import read_judged


def test_columns_beside_a_text_are_its_labels_and_no_texts(write):
    found = read_judged(write("t.csv", "text,toxic,nontoxic\nhello,0,1\nidiot,1,0\n")).items
    assert [(one.text, one.targets["toxic"]) for row in found for one in row] == [("hello", 0.0), ("idiot", 1.0)]


@pytest.mark.parametrize("nothing", ["null", '""'])
def test_a_row_that_names_no_document_is_of_none(write, nothing):
    lines = "".join(f'{{"text": "t{i}", "toxic": 1, "filename": {nothing if i else 3}}}\n' for i in range(3))
    assert [row[0].document for row in read_judged(write("t.jsonl", lines)).items] == ["3", None, None]


def test_halves_without_a_toxicity_are_kept_to_be_counted(write):
    half = '{"text": "%s", "toxicity": %s}'
    row = f'{{"prompt": {half % ("one", "0.5")}, "continuation": {half % ("two", "null")}}}\n'
    (found,) = read_judged(write("r.jsonl", row)).items
    assert [(one.text, one.targets) for one in found] == [("one", {"toxicity": 0.5}), ("two", {"toxicity": None})]


def test_columns_are_found_in_any_case(write):
    path = write("t.csv", "Text,Toxicity,Insult,Groups,FileName\none,0.5,0.25,women,d\n")
    ((one,),) = read_judged(path).items
    assert (one.text, one.targets, one.dimensions) == ("one", {"toxicity": 0.5}, {"insult": 0.25})
    assert (one.groups, one.document) == ({"women"}, "d")
    ((one,),) = read_judged(path, label="insult", group="filename").items
    assert (one.targets, one.groups) == ({"insult": 0.25}, {"d"})
    ((one,),) = read_judged(write("l.csv", "text,toxicity,Label\none,0.5,1\n")).items
    assert one.targets == {"toxicity": 0.5, "label": 1.0}, "every target that there is"
    ((one,),) = read_judged(write("c.csv", "continuation,label\none,1\n"), text="Continuation").items
    assert one.text == "one"
    (pair,) = read_judged(write("p.csv", "Toxic,NonToxic\nbad,good\n")).items
    assert [(one.text, one.targets) for one in pair] == [("bad", {"toxic": 1.0}), ("good", {"toxic": 0.0})]
