"""Tests that share fits run in one process."""

from __future__ import annotations

import pytest
from distribution import unit_of


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/test_a.py::test_b", "tests/test_a.py"),
        ("tests/test_a.py::test_b[fusion]", "tests/test_a.py"),
        ("tests/test_a.py::test_b[gpt2-fusion, the paper's]", "tests/test_a.py gpt2"),
        ("tests/test_a.py::test_b[a [text]-gpt2]", "tests/test_a.py gpt2"),
        ("tests/test_a.py::test_gpt2", "tests/test_a.py"),
    ],
)
def test_a_unit_is_a_file_or_what_is_of_one_shape_in_it(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid, {"llama", "gpt2"}) == unit
