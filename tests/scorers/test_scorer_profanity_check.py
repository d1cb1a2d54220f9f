"""alt-profanity-check behind the scorer contract; a stand-in package, and the real one where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers import SCORERS, load_scorer

WORKING = """
import numpy as np
def predict_prob(texts):
    return np.array([0.9 if "idiot" in text else 0.1 for text in texts], dtype=np.float32)
"""
OTHER_VERSION = """
import warnings
class InconsistentVersionWarning(UserWarning): pass
warnings.warn("made with 1.0, this is 2.0", InconsistentVersionWarning)
predict_prob = None
"""


@pytest.fixture(autouse=True)
def not_imported() -> Iterator[None]:
    """What one test imports under the package's name is not there for the next."""
    before = sys.modules.pop("profanity_check", None)
    yield
    sys.modules.pop("profanity_check", None)
    if before is not None:
        sys.modules["profanity_check"] = before


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in of the package goes; it wins over an installed one."""
    folder = tmp_path / "profanity_check"
    (folder / "data").mkdir(parents=True)
    for name in ("model.joblib", "vectorizer.joblib"):
        (folder / "data" / name).write_bytes(name.encode())
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_scores_are_the_packages_probabilities(package: Path) -> None:
    (package / "__init__.py").write_text(WORKING)
    scorer = load_scorer("alt-profanity-check")
    assert scorer.score(["you idiot", "hello", ""]) == pytest.approx([0.9, 0.1, 0.1])
    assert scorer.name == "alt-profanity-check"


def test_the_revision_is_of_the_weights(package: Path) -> None:
    (package / "__init__.py").write_text(WORKING)
    before = load_scorer("alt-profanity-check").revision
    (package / "data" / "model.joblib").write_bytes(b"other")
    assert load_scorer("alt-profanity-check").revision != before


def test_a_model_of_another_scikit_learn_is_refused(package: Path) -> None:
    (package / "__init__.py").write_text(OTHER_VERSION)
    with pytest.raises(DetoxError, match=r"another scikit-learn .* Run: pip install"):
        load_scorer("alt-profanity-check")


def test_a_model_that_does_not_load_is_one_line(package: Path) -> None:
    (package / "__init__.py").write_text('raise ValueError("bad pickle\\nmore")')
    with pytest.raises(DetoxError, match=r"could not be loaded: bad pickle\. Run: pip install 'detoxlm\[profanity\]'"):
        load_scorer("alt-profanity-check")


def test_without_the_package_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check", None)  # an import of it fails
    with pytest.raises(UsageError, match=r"pip install 'detoxlm\[profanity\]'"):
        load_scorer("alt-profanity-check")


def test_it_takes_no_argument() -> None:
    with pytest.raises(UsageError, match="takes no argument, got 'x'"):
        load_scorer("alt-profanity-check:x")


@pytest.mark.skipif(SCORERS["alt-profanity-check"].missing() is not None, reason="alt-profanity-check is not installed")
def test_the_real_package() -> None:
    rude, polite = load_scorer("alt-profanity-check").score(["you are a stupid idiot", "have a nice day"])
    assert rude > 0.9 and polite < 0.2
