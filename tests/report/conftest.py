from __future__ import annotations

import pytest
from report_factory import make

from detoxlm.results import Results


@pytest.fixture(scope="session")
def untouched() -> Results:
    return make()


@pytest.fixture(scope="session")
def study(untouched: Results) -> list[Results]:
    return [untouched, make(0.2, perplexity=30.2), make(0.5, perplexity=31.0), make(1.0, perplexity=41.0)]
