"""What cannot be loaded, and how that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from devices import DEVICE

from detoxlm.errors import UsageError
from detoxlm.models import load_target


def refused(name: str | Path, match: str, **options: Any) -> str:
    """Assert that a model is refused in one line that matches, and return it."""
    with pytest.raises(UsageError, match=match) as caught:
        load_target(str(name), device=DEVICE, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
