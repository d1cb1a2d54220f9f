"""Ray's start: what goes wrong is one line, and its folder is short enough, its own, and gone afterwards."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import DetoxError

pytest.importorskip("ray")


@pytest.mark.parametrize("address", [None, "192.0.2.1:6379"])
def test_a_start_that_fails_is_one_line_and_leaves_no_folder(
    address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detoxlm import cluster

    given: dict[str, Any] = {}

    def init(**options: Any) -> None:
        given.update(options)
        assert address or Path(options["_temp_dir"]).is_dir()
        raise ConnectionError("Nobody answers.\nAnd much more.")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    long = tmp_path / ("long" * 10)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(DetoxError) as failed, cluster.running():
        raise AssertionError("it has not started")
    assert str(failed.value) == "ray: not started: Nobody answers. Mend RAY_ADDRESS, or try again."
    if address:
        assert given["_temp_dir"] is None, "a cluster has a folder of its own"
    else:
        # what Ray adds: /session_DATE_TIME_MICROSECONDS_PROCESS/sockets/plasma_store
        longest = "/session_2026-11-27_21-54-27_460875_4194304/sockets/plasma_store"
        assert len(given["_temp_dir"] + longest) <= 107 and not Path(given["_temp_dir"]).exists()
