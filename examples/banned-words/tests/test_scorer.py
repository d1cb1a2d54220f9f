"""The scorer: what it counts, in which order, and what it refuses."""

from pathlib import Path

import pytest
from detoxlm_banned_words.scorer import WORDLIST, create

from detoxlm.errors import UsageError


@pytest.fixture
def words(tmp_path: Path) -> Path:
    file = tmp_path / "words.txt"
    file.write_text("idiot\nfool\n")
    return file


def test_it_counts_the_words_of_the_list_whatever_their_case(words: Path) -> None:
    texts = ["You FOOL", "good morning", "idiot fool idiot", "", "foolish"]
    scores = create(str(words), None).score(texts)
    assert scores.tolist() == [0.5, 0.0, 1.0, 0.0, 0.0]
    assert scores.tolist() == [create(str(words), None).score([text])[0] for text in texts]


def test_another_list_is_another_revision(words: Path) -> None:
    before = create(str(words), None).revision
    words.write_text("idiot\n")
    assert create(str(words), None).revision != before


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"scorer: wordlist:.*none\.txt does not exist; name a text file"):
        create(str(tmp_path / "none.txt"), None)


def test_it_needs_nothing_to_run() -> None:
    assert WORDLIST.missing() is None
