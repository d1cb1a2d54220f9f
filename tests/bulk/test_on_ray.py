"""`score --engine ray`: the bytes of one process, whoever scored what; errors of workers are those of scorers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from detoxlm.bulk.command import score_file
from detoxlm.bulk.source import CHUNK, Source
from detoxlm.errors import DetoxError, UsageError
from detoxlm.settings import ScoreSettings

#: A scorer that writes down which process scores, and fails where there is a file that says so.
RULE = """
import os
from pathlib import Path

def rule(text):
    if Path(__file__).with_name("fail").exists() and text.startswith("text 1500"):
        raise ValueError("I cannot")
    Path(__file__).with_name(f"worker-{os.getpid()}").touch()
    return len(text) % 7 / 7
"""


def test_workers_without_ray_are_refused(tmp_path: Path) -> None:
    settings = ScoreSettings(scorer="ngram", file=tmp_path / "in.txt", output=tmp_path / "out.jsonl", workers=2)
    with pytest.raises(UsageError, match="workers: it is for --engine ray"):
        score_file(settings)


def source_of(file: Path, texts: list[str]) -> Source:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return Source(file, ("text",), False, size=2)


def test_a_relative_file_is_the_one_of_this_process_wherever_ray_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    from detoxlm.bulk.on_ray import Texts

    monkeypatch.chdir(tmp_path)
    source = source_of(Path("in.jsonl"), ["a", "b", "c"])
    (task,) = Texts(source, 0).get_read_tasks(1)
    source_of(tmp_path / "elsewhere" / "in.jsonl", ["x", "y", "z"])
    monkeypatch.chdir("elsewhere")
    assert [table.to_pylist() for table in task()] == [
        [{"start": 0, "texts": ["a", "b"]}],
        [{"start": 2, "texts": ["c"]}],
    ]


def test_answers_to_other_texts_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from detoxlm.bulk import on_ray

    ours = source_of(tmp_path / "ours.jsonl", ["a", "b", "c"])
    read = ours

    def pipeline(source: Source, start: int, make: Any, *_: Any) -> Iterator[dict[str, Any]]:
        """What Ray does, in this process, on the file that `read` is."""
        worker = on_ray.Worker(make, [], str(tmp_path))
        for chunk in read.chunks(start):
            yield worker({"start": chunk.start, "texts": chunk.texts})

    monkeypatch.setattr(on_ray, "running", lambda: nullcontext([{"CPU": 1}]))
    monkeypatch.setattr(on_ray, "_pipeline", pipeline)
    monkeypatch.chdir(tmp_path)  # where a worker goes; the test's end takes it back

    def answers() -> list[bytes]:
        return [answer for _, answer in on_ray.worked(ours, 0, lambda: lambda texts: "".join(texts).encode(), 1)]

    assert answers() == [b"ab", b"c"]
    read = source_of(tmp_path / "theirs.jsonl", ["a", "b", "d"])
    with pytest.raises(DetoxError, match=r"ours\.jsonl was changed while it was read"):
        answers()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Data, for settings of its own
@pytest.mark.slow  # Ray takes ten seconds to start, and more where others work
def test_ray_writes_the_bytes_of_one_process_continues_and_says_what_a_scorer_could_not(tmp_path: Path) -> None:
    from detoxlm.cluster import running

    (tmp_path / "rule.py").write_text(RULE)
    rows = [{"text": f"text {i} {'x' * (i * 7 % 23)}", "id": i} for i in range(6 * CHUNK + 5)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def score(output: str, **options: Any) -> bytes:
        scorers = [f"python:{tmp_path}/rule.py:rule", "ngram"]
        files = {"file": tmp_path / "in.jsonl", "output": tmp_path / output}
        score_file(ScoreSettings(**{"scorer": scorers, **files, **options}))
        return (tmp_path / output).read_bytes()

    expected = {ending: score(f"here{ending}") for ending in (".jsonl", ".parquet")}
    with running() as nodes:
        for ending, here in expected.items():
            assert score(f"ray{ending}", engine="ray", workers=min(2, int(nodes[0]["CPU"]))) == here
        workers = {path.name for path in tmp_path.glob("worker-*")} - {f"worker-{os.getpid()}"}
        assert len(workers) >= 2, "each of two files had workers of its own"
        (tmp_path / "fail").touch()
        with pytest.raises(DetoxError, match=r"^scorer python:.*rule: it failed on 'text 1500 .*': I cannot$"):
            score("again.jsonl", engine="ray", workers=1)
        (tmp_path / "fail").unlink()
        kept = (tmp_path / "again.jsonl.partial" / "journal").read_text().splitlines()
        assert [json.loads(line)["rows"] for line in kept[1:]] == [CHUNK], "what was scored before it is kept"
        assert score("again.jsonl", engine="ray", workers=1) == expected[".jsonl"]
        with pytest.raises(UsageError, match=r"workers: 999 are more than the \d+ cores that Ray has here; give fewer"):
            score("more.jsonl", engine="ray", workers=999)
