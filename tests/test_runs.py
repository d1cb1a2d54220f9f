"""Two runs into one folder: neither takes the other's results or detoxifier away, and each goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import DetoxError
from detoxlm.results import Results
from detoxlm.runs import EARLIER, keep_apart


def leave(out: Path, measurement: str | None, fit: str | None, method: str = "fusion") -> None:
    """What a run leaves, by what names it."""
    (out / "results").mkdir(parents=True)
    if measurement is not None:
        (out / "results" / "untouched.json").write_text(json.dumps({"settings": {"measurement": measurement}}))
        (out / "results" / f"{method}-0.5.json").write_text(f"{measurement} {fit}")
    (out / "report.html").write_text(f"{measurement} {fit}")
    if fit is not None:
        (out / "detoxifier").mkdir()
        (out / "detoxifier" / "detoxifier.json").write_text(json.dumps({"method": method, "fitting": {"fit": fit}}))


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_same_run_an_unfinished_one_and_an_empty_folder_are_left_alone(tmp_path: Path) -> None:
    for i, found in enumerate([("m", "f"), ("m", None), (None, None)]):
        leave(tmp_path / str(i), *found)
        before = tree(tmp_path / str(i))
        keep_apart(tmp_path / str(i), "m", "f")
        assert tree(tmp_path / str(i)) == before
    keep_apart(tmp_path / "none", "m", "f")
    assert not (tmp_path / "none").exists()


def test_another_fit_is_kept_whole_and_shares_the_untouched_results(tmp_path: Path) -> None:
    leave(tmp_path, "m", "f")
    (tmp_path / "notes.txt").write_text("the user's own")
    before = tree(tmp_path)
    keep_apart(tmp_path, "m", "g")
    (kept,) = (tmp_path / EARLIER).iterdir()
    assert kept.name.startswith("fusion-")
    assert tree(kept) == {name: text for name, text in before.items() if name != "notes.txt"}
    left = {name: text for name, text in tree(tmp_path).items() if not name.startswith(EARLIER)}
    assert left == {name: before[name] for name in ("notes.txt", "results/untouched.json")}


def test_another_measurement_of_the_same_fit_shares_the_detoxifier(tmp_path: Path) -> None:
    leave(tmp_path, "m", "f")
    before = tree(tmp_path)
    keep_apart(tmp_path, "n", "f")
    (kept,) = (tmp_path / EARLIER).iterdir()
    assert tree(kept) == before
    left = {name: text for name, text in tree(tmp_path).items() if not name.startswith(EARLIER)}
    assert left == {"detoxifier/detoxifier.json": before["detoxifier/detoxifier.json"]}


def test_runs_change_places_and_lose_nothing(tmp_path: Path) -> None:
    leave(tmp_path, "m", "f")
    first = tree(tmp_path)
    keep_apart(tmp_path, "m", "g")
    (tmp_path / "results" / "untouched.json").unlink()
    (tmp_path / "results").rmdir()
    leave(tmp_path, "m", "g", "probe")
    second = {name: text for name, text in tree(tmp_path).items() if not name.startswith(EARLIER)}
    for _ in range(2):
        keep_apart(tmp_path, "m", "f")
        (kept,) = (tmp_path / EARLIER).iterdir()
        assert kept.name.startswith("probe-") and tree(kept) == second
        assert {name: text for name, text in tree(tmp_path).items() if not name.startswith(EARLIER)} == first
        keep_apart(tmp_path, "m", "g")
        (kept,) = (tmp_path / EARLIER).iterdir()
        assert kept.name.startswith("fusion-") and tree(kept) == first


@pytest.mark.parametrize("damaged", ["not json", "[]", '{"settings": {}}', '{"settings": {"measurement": 3}}'])
def test_results_that_say_nothing_of_themselves_are_kept_too(damaged: str, tmp_path: Path) -> None:
    leave(tmp_path, "m", "f", "../../elsewhere")
    (tmp_path / "results" / "untouched.json").write_text(damaged)
    keep_apart(tmp_path, "m", "f")
    (kept,) = (tmp_path / EARLIER).iterdir()
    assert kept.name.startswith("unfitted-")  # no part of a name that leads elsewhere
    assert (kept / "results" / "untouched.json").read_text() == damaged


def test_what_cannot_be_moved_is_one_line(tmp_path: Path) -> None:
    leave(tmp_path, "m", "f")
    (tmp_path / EARLIER).write_text("a file")
    with pytest.raises(DetoxError, match="cannot keep the earlier run in "):
        keep_apart(tmp_path, "m", "g")
    assert (tmp_path / "report.html").read_text() == "m f"


def test_two_runs_of_one_folder_as_a_user_sees_them(
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    run_cli: Callable[[list[str]], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detoxlm.speed.PAIRS", 1)
    (tmp_path / "p.txt").write_text("".join(f"this is prompt {i} of\n" for i in range(4)))
    (tmp_path / "t.txt").write_text("The mill by the river has been still for many years. " * 5)
    (tmp_path / "c.txt").write_text("".join(f"a calm line about the sea, number {i}\n" for i in range(24)))
    out = tmp_path / "out"

    def run(*more: Any) -> None:
        command = ["run", tiny_folder("llama"), "--prompts", tmp_path / "p.txt", "--scorer", "ngram"]
        command += ["--recipe", "challenge-10", "--fluency-text", tmp_path / "t.txt", "--strengths", "0.5", "-o", out]
        command += ["--corpus", tmp_path / "c.txt"]  # what the model makes itself would take longer
        fast = ["variant=paper", "layers=1", "steps=2", "train_batch=4"]
        run_cli(list(map(str, [*command, *(f"--set={one}" for one in fast), *more])))

    def kept() -> list[str]:
        return sorted(path.name.split("-")[0] for path in (out / EARLIER).iterdir())

    run()
    first = (out / "detoxifier" / "model.safetensors").read_bytes()
    report = (out / "report.html").read_bytes()
    run("--set=steps=3")
    assert kept() == ["fusion"] and caplog.text.count("read, not repeated") == 1  # the untouched model's
    assert (out / "detoxifier" / "model.safetensors").read_bytes() != first
    (earlier,) = (out / EARLIER).iterdir()
    assert (earlier / "detoxifier" / "model.safetensors").read_bytes() == first
    assert (earlier / "report.html").read_bytes() == report
    assert Results.load(earlier / "results" / "fusion-0.5.json").detoxifier.settings["steps"] == 2  # type: ignore[union-attr]
    caplog.clear()
    run()
    assert "loaded, not repeated" in caplog.text and caplog.text.count("read, not repeated") == 2
    assert (out / "detoxifier" / "model.safetensors").read_bytes() == first
    assert kept() == ["fusion"]
