"""What a model can do, by lm-eval's tasks through its Python API, before and after: paired item by item.

Nothing is fetched: a task is measured where its data set is in the Hub's cache or in files that the task names, and
left out, with a line that says so, where it is not. lm-eval is imported when a task is asked for.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.metrics import AVERAGE, accuracy, accuracy_change, average
from detoxlm.models import Target
from detoxlm.results import Capability, Comparison, Estimate, Results, TaskAccuracy

log = logging.getLogger(__name__)

#: The tasks that much of the literature reports, zero-shot.
TASKS = ("arc_easy", "arc_challenge", "hellaswag", "piqa", "winogrande", "boolq", "openbookqa")
#: By name: how many items of each of them are asked; None: all.
SETS: dict[str, int | None] = {"quick": 100, "standard": None}
#: Sequences that lm-eval reads at once where the measurement's own batches have no fixed size.
_READ_AT_ONCE = 16
#: What lm-eval calls the filter of a task that takes answers as they are.
_NO_FILTER = "none"


@dataclass(frozen=True)
class Tasks:
    """Tasks of lm-eval whose data are at hand, and why others are not."""

    tasks: Mapping[str, Any]
    left_out: dict[str, str]
    limit: int | None
    #: Of each task, 64 hex digits of all that decides its numbers, as it was loaded: lm-eval changes configurations.
    definitions: Mapping[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the numbers."""
        return {
            "tasks": {name: task.VERSION for name, task in self.tasks.items()},
            "tasks_sha256": dict(self.definitions),
            "items_at_most": self.limit,
            "few_shot": 0,
            "lm_eval": metadata.version("lm_eval"),
        }


def load_tasks(asked: str) -> Tasks | None:
    """Load the tasks of a set (`quick`, `standard`), or those named with commas between them; None: `none` is asked.

    A name is one of lm-eval's, or a YAML file of a task. What cannot be loaded is left out, and a warning says why.

    Raises:
        UsageError: lm-eval is not installed, an empty name, or a file that is not there.
    """
    if asked == "none":
        return None
    names = TASKS if asked in SETS else tuple(name.strip() for name in asked.split(","))
    if not all(names):
        raise UsageError(f"capability: {asked!r} has an empty name; write quick, standard, none, or names of tasks.")
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError:
        raise UsageError(
            "capability: it needs lm-eval: pip install 'detoxlm[capability]', or --capability none."
        ) from None
    with _quiet(), _offline():
        manager = TaskManager(include_defaults=not all(Path(name).is_file() for name in names))  # there are thousands
        found: dict[str, Any] = {}
        definitions: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for name in names:
            try:
                loaded = manager.load([name])["tasks"]
                definitions |= {one: _definition(task, SETS.get(asked)) for one, task in loaded.items()}
                found |= loaded
            except Exception as error:  # of lm-eval, datasets, jinja and YAML: each has its own
                left_out[name] = _why(error)
    if left_out:
        log.warning(
            "capability: left out: %s. `lm_eval run --tasks NAME --limit 1 --model dummy` fetches a task's data.",
            "; ".join(f"{name} ({why})" for name, why in left_out.items()),
        )
    return Tasks(found, left_out, SETS.get(asked), definitions)


def _definition(task: Any, limit: int | None) -> str:
    """Return 64 hex digits of a task's configuration, the code that it names, and the documents that are asked."""
    digest = hashlib.sha256(_as_json(task.config.to_dict(keep_callable=True)))
    for document in islice(task.eval_docs, limit):
        digest.update(_as_json(document))
    return digest.hexdigest()


def _as_json(value: Any) -> bytes:
    return json.dumps(value, default=_in_words).encode()


def _in_words(value: Any) -> str:
    """Return what JSON has no word for: a function as the file that holds it, because it calls others of the file."""
    if isinstance(value, partial):  # such as prompt templates of one function; what it is given is told too
        return f"{_in_words(value.func)}{value.args}{value.keywords}"
    try:
        return Path(inspect.getsourcefile(value) or "").read_text(encoding="utf-8")
    except (TypeError, OSError):  # no function, or one without a file
        return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _why(error: Exception) -> str:
    name = type(error).__name__
    if isinstance(error, KeyError):
        return "no such task or file"
    if "Offline" in name or "Connection" in name or "offline" in str(error).lower():
        return "its data set is not in the cache of the Hub"
    return f"{name}: {first_line(error)}"


@contextmanager
def _offline() -> Iterator[None]:
    """Let the Hub's libraries read their caches alone: a measurement must not depend on what is fetched today."""
    import datasets
    import huggingface_hub

    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Let lm-eval log errors alone."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def measure_capability(target: Target, tasks: Tasks, batch_size: int) -> Capability:
    """Return what a model, as it is now, gets right.

    Args:
        target: the model; a detoxifier may be attached.
        tasks: what is asked.
        batch_size: sequences read at once.

    Raises:
        DetoxError: a task does not say which of its items are right.
    """
    if not tasks.tasks:
        return Capability(tasks={}, average=None, left_out=tasks.left_out, settings=tasks.settings)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    with _quiet(), _offline():
        model = HFLM(pretrained=target.model, tokenizer=target.tokenizer, batch_size=batch_size)
        found = simple_evaluate(
            model, tasks=list(tasks.tasks.values()), num_fewshot=0, limit=tasks.limit, bootstrap_iters=0
        )
    assert found is not None  # of the first process of several
    scored = {name: _scored(name, found["samples"][name]) for name in tasks.tasks}
    return Capability(
        tasks=scored,
        average=average({name: task.right for name, task in scored.items()}),
        left_out=tasks.left_out,
        settings=tasks.settings,
    )


def _scored(name: str, samples: Sequence[Mapping[str, Any]]) -> TaskAccuracy:
    # a sample for each document and filter: where answers are read in several ways, the first is the task's main one
    way = samples[0]["filter"]
    in_order = sorted((one for one in samples if one["filter"] == way), key=lambda sample: int(sample["doc_id"]))
    metric = next((one for one in ("acc_norm", "acc", "exact_match") if one in in_order[0]), None)
    if metric is None:
        raise DetoxError(f"capability: the task {name} has none of acc_norm, acc and exact_match; leave it out.")
    right = [float(sample[metric]) for sample in in_order]
    # what was asked is more than the document: prompt and answers to choose from
    items = "".join(
        f"{sample['doc_hash']}{sample['target_hash']}{_as_json(sample['arguments']).decode()}" for sample in in_order
    )
    return TaskAccuracy(
        metric=metric if way == _NO_FILTER else f"{metric} ({way})",
        accuracy=accuracy(right),
        right=right,
        items_sha256=hashlib.sha256(items.encode()).hexdigest(),
    )


def capability_changes(base: Capability, now: Capability) -> dict[str, Estimate]:
    """Return by task the accuracy of `now` less that of `base`, paired by item, and the mean of all as `average`.

    Tasks that only one of the two has, or that asked other items, have no change.
    """
    pairs = {
        name: (base.tasks[name].right, task.right)
        for name, task in now.tasks.items()
        if name in base.tasks
        and (base.tasks[name].items_sha256, base.tasks[name].metric) == (task.items_sha256, task.metric)
    }
    found = {name: accuracy_change(before, after) for name, (before, after) in pairs.items()}
    mean = average(
        {name: [b - a for a, b in zip(before, after, strict=True)] for name, (before, after) in pairs.items()}
    )
    return found if mean is None else {**found, AVERAGE: mean}


def add_capability(
    results: Results,
    target: Target,
    tasks: Tasks,
    attached: AbstractContextManager[None],
    baseline: Results | None = None,
) -> bool:
    """Give results what the model gets right, and the changes from the baseline's; tell whether anything is new.

    Args:
        results: of the model, or of a detoxifier attached to it; those that have it already keep it.
        target: the untouched model.
        tasks: what is asked.
        attached: makes the target the model that the results are of.
        baseline: the untouched model's results, with its capability.
    """
    new = results.capability is None or results.capability.settings != tasks.settings
    if new:
        size = results.settings["batch_size"]
        with attached:
            results.capability = measure_capability(target, tasks, size if isinstance(size, int) else _READ_AT_ONCE)
    changed = baseline is not None and compare_capability(results, baseline)
    return new or changed


def compare_capability(results: Results, baseline: Results) -> bool:
    """Give results the changes from the baseline's capability, if both have any; tell whether they are new."""
    comparison: Comparison | None = results.comparison
    if comparison is None or baseline.capability is None or results.capability is None:
        return False
    before = comparison.capability
    comparison.capability = capability_changes(baseline.capability, results.capability)
    return before != comparison.capability
