"""Chunks scored with Ray Data: in several processes, on this machine or on a cluster.

One task reads the file, beside this process; an actor pool scores, each actor with scorers of its own; this process
reads along and brings rows and scores together, in the file's order. Only texts and scores travel.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask
from ray.exceptions import RayError

from detoxlm.bulk.judges import Judges
from detoxlm.bulk.source import Chunk, Source
from detoxlm.cluster import running
from detoxlm.errors import DetoxError, UsageError, first_line


class Texts(Datasource):
    """The chunks of a file from a row on, for Ray Data: a row with the texts of each."""

    def __init__(self, source: Source, start: int) -> None:
        """Take the file and the row."""
        super().__init__()
        self._source, self._start = source, start

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


class Reader:
    """An actor: scorers of its own."""

    def __init__(self, specs: Sequence[str], dimensions: bool, described: Sequence[str], path: Sequence[str]) -> None:
        """Load the scorers; `path` is where Python finds what they need, `described` what they have to be."""
        sys.path.extend(place for place in path if place not in sys.path)
        self._error = ""
        try:
            self._judges = Judges.load(specs, dimensions)
            if self._judges.described() != described:
                self._error = f"a worker has other scorers: {', '.join(self._judges.described())}"
        except DetoxError as error:
            self._error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the scores of a chunk; what a scorer could not do as words, or Ray would wrap the error in its own."""
        answer = {"start": row["start"], "scores": b"", "error": self._error}
        if not self._error:
            try:
                answer["scores"] = self._judges.score([str(text) for text in row["texts"]]).tobytes()
            except DetoxError as error:
                answer["error"] = str(error)
        return answer


def scored(
    source: Source,
    judges: Judges,
    start: int,
    advance: Callable[[int], None],
    *,
    specs: Sequence[str],
    workers: int | None,
) -> Generator[tuple[Chunk, np.ndarray]]:
    """Yield the chunks from row `start` on with their scores, float64 [rows, columns], in the file's order.

    Args:
        source: the file; only this machine must have it.
        judges: the scorers as they are here; every worker must come to the same.
        start: a multiple of the size of a chunk.
        advance: told of every text and scorer.
        specs: the scorers, for workers to load.
        workers: how many; None: one for each GPU of the machines, or for each core where there is none.

    Raises:
        UsageError: the machines have not so many cores.
        DetoxError: a scorer or a worker failed.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it warns of how Ray Data itself starts actors
    with running() as nodes:
        cores, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
        count = workers or gpus or cores
        if not gpus and count > cores:
            raise UsageError(f"workers: {count} are more than the {cores} cores that Ray has here; give fewer.")
        needs = {"num_gpus": min(1.0, gpus / count)} if gpus else {"num_cpus": 1.0}
        columns = len(judges.columns(""))
        try:
            with closing(_pipeline(source, start, specs, judges, count, needs)) as answers:
                for chunk in source.chunks(start):
                    answer = next(answers, None)
                    if answer is None or answer["start"] != chunk.start:
                        raise DetoxError(f"{source.path} was changed while it was scored; start over with --overwrite.")
                    if answer["error"]:
                        raise DetoxError(answer["error"])
                    advance(len(chunk.texts) * len(judges.scorers))
                    yield chunk, np.frombuffer(answer["scores"]).reshape(-1, columns)
        except RayError as error:
            raise DetoxError(
                f"engine: a worker of Ray failed ({first_line(error)}). Run the same command again: it continues."
            ) from error


def _pipeline(
    source: Source, start: int, specs: Sequence[str], judges: Judges, workers: int, needs: dict[str, float]
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
            Reader,
            fn_constructor_args=(list(specs), judges.dimensions, judges.described(), list(sys.path)),
            compute=ActorPoolStrategy(size=workers),
            **needs,
        )
    yield from answers.iter_rows()
