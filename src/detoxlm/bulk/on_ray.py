"""Chunks worked on with Ray Data: in several processes, on this machine or on a cluster.

One task reads the file, beside this process; a pool of actors works, each with scorers or a model of its own; this
process reads along and brings rows and answers together, in the file's order. Only texts and answers travel. An actor
that dies is started again, and what it had not answered is asked again.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask
from ray.exceptions import RayError

from detoxlm.bulk.source import Chunk, Source
from detoxlm.bulk.work import changed
from detoxlm.cluster import running
from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.journal import digest_of


class Texts(Datasource):
    """The chunks of a file from a row on, for Ray Data: a row with the texts of each."""

    def __init__(self, source: Source, start: int) -> None:
        """Take the file and the row."""
        super().__init__()
        # a Ray that ran before us reads in a folder of its own
        self._source, self._start = replace(source, path=source.path.absolute()), start

    def estimate_inmemory_data_size(self) -> int | None:
        """Return that nobody knows."""
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one task: whoever reads the second half of a file has read the first."""
        source, start = self._source, self._start

        def read() -> Iterator[Any]:
            for chunk in source.chunks(start):
                yield pa.table({"start": [chunk.start], "texts": [chunk.texts]})

        return [ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]


#: Answers the texts of a chunk.
Work = Callable[[Sequence[str]], bytes]


class Worker:
    """An actor: it makes what works, and hands it chunks."""

    def __init__(self, make: Callable[[], Work], path: Sequence[str], folder: str) -> None:
        """Make what works; `path` is where Python finds what it needs, and names of files are as from `folder`."""
        sys.path.extend(place for place in path if place not in sys.path)
        if Path(folder).is_dir():  # else this machine shares no files with the other
            os.chdir(folder)
        self._error = ""
        try:
            self._work = make()
        except DetoxError as error:
            self._error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a chunk; what could not be done as words, or Ray would wrap the error in its own."""
        texts = [str(text) for text in row["texts"]]
        answer = {"start": row["start"], "of": digest_of(texts), "answer": b"", "error": self._error}
        if not self._error:
            try:
                answer["answer"] = self._work(texts)
            except DetoxError as error:
                answer["error"] = str(error)
        return answer


def worked(source: Source, start: int, make: Callable[[], Work], workers: int | None) -> Generator[tuple[Chunk, bytes]]:
    """Yield the chunks from row `start` on with what was made of their texts, in the file's order.

    Args:
        source: the file; only this machine must have it.
        start: a multiple of the size of a chunk.
        make: called in every worker; what it returns works there.
        workers: how many; None: one for each GPU of the machines, or for each core where there is none.

    Raises:
        UsageError: the machines have not so many cores.
        DetoxError: the work could not be made or done, or a worker failed for good.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it warns of how Ray Data itself starts actors
    with running() as nodes:
        cores, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
        count = workers or gpus or cores
        if not gpus and count > cores:
            raise UsageError(f"workers: {count} are more than the {cores} cores that Ray has here; give fewer.")
        needs = {"num_gpus": min(1.0, gpus / count)} if gpus else {"num_cpus": 1.0}
        try:
            with closing(_pipeline(source, start, make, count, needs)) as answers:
                for chunk in source.chunks(start):
                    answer = next(answers, None)
                    if answer is None or (answer["start"], answer["of"]) != (chunk.start, digest_of(chunk.texts)):
                        raise changed(source)
                    if answer["error"]:
                        raise DetoxError(answer["error"])
                    yield chunk, answer["answer"]
        except RayError as error:
            raise DetoxError(
                f"engine: a worker of Ray failed ({first_line(error)}). Run the same command again: it continues."
            ) from error


def _pipeline(
    source: Source, start: int, make: Callable[[], Work], workers: int, needs: dict[str, float]
) -> Generator[dict[str, Any]]:
    """Yield the answers of the workers, in order, as Ray Data carries the work out."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = context.target_min_block_size = 1  # a chunk is a block: it goes on when it is read
    with DataContext.current(context):
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        texts = ray.data.read_datasource(Texts(source, start), num_cpus=0, label_selector=here, override_num_blocks=1)
        answers = texts.map(
            Worker,
            fn_constructor_args=(make, list(sys.path), str(Path.cwd())),
            compute=ActorPoolStrategy(size=workers),
            **needs,
        )
    yield from answers.iter_rows()
