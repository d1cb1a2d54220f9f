"""The cache of converted models: kept by content, listed and cleared. How it converts is in test_models.py."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from detoxlm import gguf_cache
from detoxlm.errors import DetoxError, UsageError
from detoxlm.gguf_cache import cached_models, clear_cache, converted, size_shown

SHA = {"a": "a" * 64, "b": "b" * 64}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and conversions that take no time: 1,500,000 bytes each."""
    monkeypatch.setenv("DETOXLM_CACHE", str(tmp_path / "cache"))

    def convert(gguf: Path, sha256: str, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"\0" * 1_500_000)
        (folder / "origin.json").write_text(json.dumps({"source": str(gguf), "sha256": sha256}))

    monkeypatch.setattr(gguf_cache, "_convert", convert)
    return tmp_path / "cache" / "models"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_copies_of_one_file_under_other_names_share_a_folder(cache: Path) -> None:
    first = converted(Path("/x/one.gguf"), SHA["a"])
    assert converted(Path("/y/copy-of-one.gguf"), SHA["a"]) == first
    assert converted(Path("/x/one.gguf"), SHA["b"]) != first, "another content under the old name"
    assert names(cache) == [f"one-{'a' * 12}-1", f"one-{'b' * 12}-1"]


@pytest.mark.parametrize("name", [".hidden.gguf", "a\nb.gguf", "x.Q4.gguf", "-1.gguf"])
def test_files_of_odd_names_are_converted_once_too(name: str, cache: Path) -> None:
    first = converted(Path("/x") / name, SHA["a"])
    assert converted(Path("/x") / name, SHA["a"]) == first
    assert [model.folder for model in cached_models()] == [first]


def test_what_a_conversion_takes_on_disk_is_said_when_it_is_made(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        folder = converted(Path("/x/one.gguf"), SHA["a"])
        assert f"it takes 2 MB in {folder}; `detoxlm cache list` shows it" in caplog.text
        caplog.clear()
        converted(Path("/x/one.gguf"), SHA["a"])
        assert caplog.text == ""


def test_sizes_are_said_as_people_read_them() -> None:
    assert [size_shown(n) for n in (999, 517_400_000, 2_340_000_000)] == ["999 bytes", "517 MB", "2.3 GB"]


def test_the_list_has_source_size_and_last_use_the_last_used_first(
    cache: Path, run_cli: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (converted(Path(f"/x/{name}.gguf"), sha) for name, sha in zip(("one", "two"), SHA.values(), strict=True))
    os.utime(one / "origin.json", (10**9, 10**9))
    os.utime(two / "origin.json", (10**8, 10**8))
    assert [model.name for model in cached_models()] == [one.name, two.name]
    converted(Path("/x/two.gguf"), SHA["b"])  # using it counts
    first, second = cached_models()
    assert (first.name, first.source, second.last_used) == (two.name, "/x/two.gguf", 10**9)
    size = sum(path.stat().st_size for path in one.iterdir())
    assert second.bytes == size > 1_500_000
    run_cli(["cache", "list", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["bytes"], row["folder"]) for row in rows][1] == (one.name, size, str(one))
    run_cli(["cache", "list"])
    shown = capsys.readouterr().out.splitlines()
    assert one.name in shown and any("2 MB" in line and "/x/one.gguf" in line for line in shown)


def test_clearing_one_keeps_the_others_and_clearing_all_takes_leftovers_too(
    cache: Path, run_cli: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (converted(Path(f"/x/{name}.gguf"), sha) for name, sha in zip(("one", "two"), SHA.values(), strict=True))
    leftover = cache / f".three-{'c' * 12}-1.xyz12"  # of a conversion that was killed
    leftover.mkdir()
    (cache / f".three-{'c' * 12}-1.old.a_b12").mkdir()
    (cache / "of-somebody-else").mkdir()
    run_cli(["cache", "clear", one.name])
    assert capsys.readouterr().out == f"Deleted: {one.name} (2 MB)\n"
    assert two.name in names(cache) and leftover.name in names(cache)
    run_cli(["cache", "clear", "--json"])
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [two.name]
    assert names(cache) == ["of-somebody-else"]
    run_cli(["cache", "clear"])
    assert capsys.readouterr().out == "Nothing to delete.\n"
    assert converted(Path("/x/one.gguf"), SHA["a"]).is_dir(), "and made again when it is needed"


def test_a_name_that_is_not_there_is_refused_with_those_that_are(cache: Path) -> None:
    with pytest.raises(UsageError, match=r"no converted model 'one'\. Now .*models has none"):
        clear_cache("one")
    made = converted(Path("/x/one.gguf"), SHA["a"])
    with pytest.raises(UsageError, match=rf"Did you mean '{made.name}'\? Now there are: {made.name}"):
        clear_cache(made.name[:-1])
    for outside in ("..", f"../models/{made.name}", ""):
        with pytest.raises(UsageError, match="no converted model"):
            clear_cache(outside)
    assert made.is_dir()


def test_a_model_that_is_being_converted_is_not_pulled_away(cache: Path) -> None:
    made = converted(Path("/x/one.gguf"), SHA["a"])
    with FileLock(cache / f"{'a' * 12}-1.lock"), pytest.raises(DetoxError, match="being converted by another process"):
        clear_cache()
    assert made.is_dir()


def test_a_damaged_entry_is_listed_and_can_be_cleared(cache: Path) -> None:
    made = converted(Path("/x/one.gguf"), SHA["a"])
    (made / "origin.json").write_text("{")
    assert [(model.name, model.source) for model in cached_models()] == [(made.name, "?")]
    clear_cache(made.name)
    assert cached_models() == []


def test_a_cache_that_was_never_used_is_empty(cache: Path) -> None:
    shutil.rmtree(cache.parent, ignore_errors=True)
    assert cached_models() == [] and clear_cache() == []
    assert not cache.exists()
