"""A subclass of TRL's `SFTTrainer` with a clean and a harmful batch in every step, and a limit on drift."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn import functional as F
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainingArguments,
)
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from detoxlm.architecture import Architecture
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods.training.anchors import Anchor
from detoxlm.methods.training.course import Course
from detoxlm.methods.training.objectives import Objective, Tokens
from detoxlm.methods.training.progress import Progress
from detoxlm.methods.training.settings import FineTuneSettings, TrainingSettings
from detoxlm.passages import Passage, endless

#: Steps over which the learning rate rises from 0.
WARM_UP = 5
Watch = Callable[[PreTrainedModel | PeftModel], dict[str, float]]


class Rows:
    """Texts, weights and anchors by number, and the batches made of them."""

    def __init__(
        self,
        harmful: Sequence[Passage],
        weights: Sequence[Sequence[float]],
        clean: Sequence[Passage],
        anchors: Sequence[Anchor] | None = None,
        teachers: Sequence[Anchor] | None = None,
    ) -> None:
        """Take harmful texts with weights of their tokens, and clean texts.

        `anchors` are what the base says of the clean ones, for objectives that hold to it; `teachers` are of the
        harmful ones: what is to be learned there, or what the base says, as the objective reads.
        """
        self.harmful, self.weights, self.clean, self.anchors = harmful, weights, clean, anchors
        self.teachers = teachers

    def order(self, rows: int, seed: int) -> Dataset:
        """Return numbers of a harmful and of a clean text for each of so many rows: every text once, then again.

        Where there are no harmful texts a row has none.
        """
        generator = torch.Generator().manual_seed(seed)
        kinds = {"harmful": self.harmful, "clean": self.clean}
        orders = {kind: endless(len(texts), generator) for kind, texts in kinds.items() if texts}
        return Dataset.from_dict({kind: [next(order) for _ in range(rows)] for kind, order in orders.items()})

    def collate(self, rows: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """Return one batch: clean texts first, then as many harmful ones (if there are any), padded on the right.

        `at` [n, 2] are text and position of the states that predict the tokens that count, `ids` [n] and `weights` [n]
        are of those tokens; `top` [n, k] and `base` [n, k + 1] are of their anchors.
        """
        clean, harmful = [row["clean"] for row in rows], [row["harmful"] for row in rows if "harmful" in row]
        texts = [self.clean[i] for i in clean] + [self.harmful[i] for i in harmful]
        longest = max(len(text.ids) for text in texts)
        batch = {
            "input_ids": torch.tensor([text.ids + [0] * (longest - len(text.ids)) for text in texts]),
            "attention_mask": torch.tensor([[1] * len(t.ids) + [0] * (longest - len(t.ids)) for t in texts]),
        }
        even = [[1.0] * (len(text.ids) - max(1, text.start)) for text in texts[: len(rows)]]
        worst = [list(self.weights[i])[max(1, self.harmful[i].start) - self.harmful[i].start :] for i in harmful]
        for kind, first, group, weights, kept, numbers in (
            ("clean", 0, texts[: len(rows)], even, self.anchors, clean),
            ("harmful", len(rows), texts[len(rows) :], worst, self.teachers, harmful),
        ):
            anchors = [kept[i] for i in numbers] if kept is not None else [_no_anchor(len(given)) for given in weights]
            counts = torch.tensor([weight > 0 for given in weights for weight in given], dtype=torch.bool)
            batch[f"{kind}_top"] = torch.cat([anchor.ids for anchor in anchors or [_no_anchor(0)]])[counts]
            batch[f"{kind}_base"] = torch.cat([anchor.log_p for anchor in anchors or [_no_anchor(0)]])[counts]
            places = [
                (row, position - 1, text.ids[position], weight)
                for row, (text, given) in enumerate(zip(group, weights, strict=True), first)
                for position, weight in zip(range(max(1, text.start), len(text.ids)), given, strict=True)
                if weight > 0
            ]
            batch[f"{kind}_at"] = torch.tensor([place[:2] for place in places], dtype=torch.long).reshape(-1, 2)
            batch[f"{kind}_ids"] = torch.tensor([place[2] for place in places], dtype=torch.long)
            batch[f"{kind}_weights"] = torch.tensor([place[3] for place in places])
        return batch


def _no_anchor(tokens: int) -> Anchor:
    return Anchor(torch.zeros(tokens, 0).long(), torch.zeros(tokens, 0))


@dataclass(frozen=True)
class Run:
    """What every training takes besides its model and its loss."""

    settings: TrainingSettings
    tokenizer: PreTrainedTokenizerBase
    course: Course
    watch: Watch
    folder: Path  # of the checkpoints
    seed: int


class Looking(Trainer):
    """What our trainers share: they look at generations in place of a loss, and keep a `Course`."""

    watch: Watch
    control: TrainerControl

    def __init__(self, model: PreTrainedModel | PeftModel, run: Run, train_dataset: Dataset, **more: Any) -> None:
        self.watch = run.watch
        super().__init__(
            model=model,
            train_dataset=train_dataset,
            eval_dataset=train_dataset.select([0]),  # not read: `evaluate` looks at generations, but one is asked for
            processing_class=run.tokenizer,
            callbacks=callbacks(run),
            **more,
        )
        self.remove_callback(PrinterCallback)  # it prints to standard output, where commands print JSON

    @property
    def course(self) -> Course:
        """The course of this run; a resumed run has made another one from its checkpoint."""
        return next(one for one in self.callback_handler.callbacks if isinstance(one, Course))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Look at the model being trained; `Course.frontier` says which look is best."""
        self.model.eval()
        found = self.watch(self.model)
        self.model.train()
        seen = {"step": self.state.global_step, **found}
        self.course.look(seen)
        metrics = {f"eval_{name}": value for name, value in found.items()}
        metrics["eval_frontier"] = self.course.frontier(seen)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def seen(self, values: Sequence[torch.Tensor]) -> list[float]:
        """Return the means over processes of what a step saw, its loss first, which is noted.

        Raises:
            DetoxError: one is NaN or infinite.
        """
        found = self.accelerator.reduce(torch.stack([value.detach().float() for value in values]), "mean").tolist()
        if not all(map(math.isfinite, found)):
            raise DetoxError(
                f"loss: it is {found[0]} at step {self.state.global_step + 1}; lower --set learning_rate. Checkpoints "
                f"of the last looks are in {self.args.output_dir}."
            )
        self.course.curve.append([self.state.global_step + 1, round(found[0], 5)])
        return list(found)


class AvoidanceTrainer(Looking, SFTTrainer):
    """Trains on the loss of an `Objective` and its penalty, at the price of `Course`."""

    def __init__(self, model: PreTrainedModel | PeftModel, run: Run, *, objective: Objective, rows: Rows) -> None:
        self.objective = objective
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        self.view = Architecture.of(base)
        self.forward_names = frozenset(inspect.signature(base.forward).parameters)
        args = one_device(SFTConfig(**arguments(run, base.device), dataset_kwargs={"skip_prepare_dataset": True}))
        data = rows.order(args.max_steps * args.train_batch_size * args.world_size, run.seed)
        super().__init__(model, run, data, args=args, data_collator=rows.collate)
        self.model_accepts_loss_kwargs = False  # the loss is a mean already

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch of `Rows.collate`.

        Raises:
            DetoxError: it is NaN or infinite.
        """
        states = self._states(model, inputs)
        texts = int(inputs["clean_at"][-1, 0]) + 1  # each has a token that counts, and the clean ones come first
        clean, harmful = (
            self._tokens(states, inputs, kind, first) for kind, first in (("clean", 0), ("harmful", texts))
        )
        loss = self.objective.loss(clean, harmful, texts)
        penalty, drift = self.objective.penalty(clean, harmful, self._mean)
        # of the trainer's own count of steps, which a checkpoint keeps: a resumed run weighs as the whole one
        weight = self.objective.weight(self.state.global_step / self.state.max_steps)
        total = weight * loss + self.course.price * penalty
        _, drift_seen = self.seen([loss, drift])
        self.course.follow(drift_seen)
        return total

    def _mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a number over processes."""
        found: torch.Tensor = self.accelerator.reduce(value.detach(), "mean")
        return found

    def _states(self, model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Final states [2B, T, d], of one call of the whole (perhaps distributed) model; its own head sees little."""
        kept: list[torch.Tensor] = []
        handle = self.view.decoder.register_forward_hook(lambda _, __, output: kept.append(output[0]))
        keep = {"logits_to_keep": 1} if "logits_to_keep" in self.forward_names else {}
        try:
            model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False, **keep)
        finally:
            handle.remove()
        return kept[0]

    def _tokens(self, states: torch.Tensor, inputs: dict[str, torch.Tensor], kind: str, first: int) -> Tokens:
        text, position = inputs[f"{kind}_at"].unbind(1)
        return Tokens(
            states[text, position],
            inputs[f"{kind}_ids"],
            text - first,
            inputs[f"{kind}_weights"],
            inputs[f"{kind}_top"],
            inputs[f"{kind}_base"],
            partial(logits, self.view),
        )


class PreferenceTrainer(Looking, DPOTrainer):
    """TRL's DPO on pairs of a clean and a harmful text of one prompt."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        run: Run,
        *,
        pairs: Sequence[tuple[Passage, Passage]],
        beta: float,
    ) -> None:
        args = one_device(DPOConfig(**arguments(run, model.device), beta=beta))
        order = endless(len(pairs), torch.Generator().manual_seed(run.seed))
        chosen = [pairs[next(order)] for _ in range(args.max_steps * args.train_batch_size * args.world_size)]
        data = Dataset.from_list(
            [
                {
                    "prompt_ids": good.ids[: good.start],
                    "chosen_ids": good.ids[good.start :],
                    "rejected_ids": bad.ids[bad.start :],
                }
                for good, bad in chosen
            ]
        )
        reference = None if isinstance(model, PeftModel) else copy.deepcopy(model)
        super().__init__(model, run, data, ref_model=reference, args=args)

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """Return the texts as they are, for TRL to leave alone.

        It would put the end token behind each, and so teach that clean text ends where harmful text goes on: the
        texts were cut at a length, they did not end.
        """
        return dataset

    def compute_loss(self, *args: Any, **more: Any) -> Any:
        """Return the library's loss, noted and checked."""
        found = super().compute_loss(*args, **more)
        self.seen([found[0] if isinstance(found, tuple) else found])
        return found


def logits(view: Architecture, states: torch.Tensor) -> torch.Tensor:
    """Return logits [n, V] in float32 of final states [n, d]."""
    # not a call of the module: of a sharded model that would free the head's weight before the other chunks need it
    return view.capped(F.linear(states, view.head.weight, view.head.bias))


def trainable(model: PreTrainedModel, settings: TrainingSettings, seed: int) -> PreTrainedModel | PeftModel:
    """Prepare `model`, a copy of the target's, for training: an adapter on all linear layers, or every weight.

    Raises:
        UsageError: the model has no layers that an adapter fits.
    """
    if settings.tune == "full":
        # in bfloat16 a step of this learning rate is less than half of what a weight above 1/16 can change by
        return model.float().requires_grad_(True)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise UsageError(
            f"tune: no LoRA adapter fits this model ({error}); --set tune=full trains its weights."
        ) from error


def arguments(run: Run, device: torch.device) -> dict[str, Any]:
    """The library's arguments: checkpoints where we look, no reports elsewhere."""
    settings = run.settings
    every = min(settings.check_every, settings.steps)
    return {
        "output_dir": str(run.folder),
        "per_device_train_batch_size": settings.batch,
        "max_steps": settings.steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": min(WARM_UP, settings.steps // 2),
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": run.seed,
        "use_cpu": device.type == "cpu",
        "bf16": False,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "logging_strategy": "no",
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "frontier",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "max_length": None,
        "dataloader_pin_memory": False,
        "report_to": "none",
        "disable_tqdm": True,
        "average_tokens_across_devices": False,
    }


def one_device(args: TrainingArguments) -> Any:
    """Return `args` for one device in each process: of several that are seen, `Trainer` would use all at once."""
    args._n_gpu = min(args.n_gpu, 1)
    return args


def callbacks(run: Run) -> list[TrainerCallback]:
    """What goes along with a training: its course, an end where looks get no better, and what is shown."""
    settings = run.settings
    found: list[TrainerCallback] = [run.course, Progress(settings.steps, list(run.course.watched))]
    if isinstance(settings, FineTuneSettings):
        found.append(EarlyStoppingCallback(early_stopping_patience=settings.patience))
    return found
