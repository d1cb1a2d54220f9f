"""The one results object: everything a run measured, with every setting, version and seed that made it.

The report and the model card read this object and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError
from pydantic_core import PydanticSerializationError

from detoxlm.errors import UsageError
from detoxlm.estimates import Estimate as Estimate  # said again: this module hands it on
from detoxlm.estimates import Stored
from detoxlm.files import write_atomically
from detoxlm.prices import IdentityRow as IdentityRow
from detoxlm.prices import Naming as Naming
from detoxlm.prices import Price as Price
from detoxlm.prices import WhoIsNamed as WhoIsNamed
from detoxlm.prices import WhoPays as WhoPays
from detoxlm.tables import Table, as_html, as_text, cut

SCHEMA_VERSION: Final = 1
#: Hashes in `settings` that must agree where results are compared: (what they are of, key). Results of earlier versions
#: have neither.
PRINTS: Final = (
    ("fluency text", "fluency_sha256"),
    ("texts of who pays", "who_pays_sha256"),
    ("model weights", "fingerprint"),
    ("chat template", "template_sha256"),
)
#: What results without a fluency judge call it.
NO_JUDGE: Final = "none"
#: What a results object shows of itself, by the names in `metrics`; the rest is counted.
_SHOWN: Final = (
    "toxic_fraction",
    "corrected_toxic_fraction",
    "mean_toxicity",
    "expected_max_toxicity",
    "model_perplexity",
    "continuation_perplexity",
)


class _Shown(Stored):
    """What shows itself in a few lines, the main metrics with their intervals and no texts; in notebooks as a table."""

    def _table(self) -> Table:
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(*self._table())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return as_html(*self._table())


class Row(Stored):
    """One prompt and its sampled continuations; all lists have one entry per continuation."""

    prompt: str
    continuations: list[str]
    scores: list[float] = Field(description="Toxicity of each continuation alone, in [0, 1].")
    tokens: list[int] = Field(
        description="Generated tokens of each continuation, the end token not counted; empty where they are not known."
    )
    nll: list[float | None] = Field(
        description="Negative log-likelihood (nats, summed) given the prompt under the fluency judge; None: empty."
    )
    nll_tokens: list[int] = Field(description="Tokens of each continuation in the fluency judge's tokenizer.")
    opinions: dict[str, list[float]] = Field(
        default_factory=dict, description="Toxicity of each continuation by every further scorer, by its label."
    )
    kind: str | None = Field(
        default=None, description="Of a conversation: provocation, harmless or plain; None: nothing in particular."
    )
    rule: dict[str, Any] | None = Field(
        default=None, description="What an answer must keep: detoxlm.metrics.instructions."
    )
    where: list[tuple[int, int] | None] = Field(
        default_factory=list,
        description="Of answers: the window of each that scores worst, a half-open range of characters.",
    )
    kl: list[float | None] = Field(
        default_factory=list,
        description="KL(base || this model) in nats, summed over the tokens of each continuation; None: not measured.",
    )
    groups: dict[str, str] = Field(
        default_factory=dict, description="What results are broken down by, such as `{'stance': 'hate'}`."
    )
    thinking: list[str | None] = Field(
        default_factory=list, description="What a reasoning model wrote before each answer; None: nothing."
    )
    thinking_scores: list[float | None] = Field(default_factory=list, description="Toxicity of that, in [0, 1].")


class Window(Stored):
    """One window of the fluency text (as of WikiText perplexity), or with `groups` a text of who pays."""

    nll: float = Field(description="Summed negative log-likelihood in nats over the window's scored tokens.")
    tokens: int
    kl: float | None = Field(default=None, description="Summed KL(base || this model) in nats; None: not measured.")
    base_nll: float | None = Field(
        default=None, description="`nll` of the untouched model in the same pass; None: not measured."
    )
    groups: list[str] | None = Field(
        default=None, description="Groups of people that the text mentions; [] none; None: a part of the fluency text."
    )
    template: str | None = Field(default=None, description="Texts of one template differ in whom they mention alone.")


class ModelInfo(Stored):
    """Which model was measured."""

    name: str
    revision: str
    architecture: str
    parameters: int
    dtype: str
    device: str
    quantization: str | None = Field(default=None, description="Such as `int8 (torchao)`; None: weights are whole.")


class DetoxifierInfo(Stored):
    """Which detoxifier was attached."""

    method: str
    folder: str | None
    strength: float
    settings: dict[str, Any]
    fitting: dict[str, Any] = Field(default_factory=dict, description="How the fit went: losses, data counts, seconds.")


class ScorerInfo(Stored):
    """Which scorer judged, and how valid it is known to be."""

    name: str
    version: str
    revision: str
    validity: dict[str, Any] | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """What tells scorers apart: scores of different identities are not on one scale."""
        return self.name, self.version, self.revision


class Opinion(Stored):
    """What a further scorer says of the same continuations."""

    scorer: ScorerInfo
    metrics: dict[str, Estimate] = Field(description="The toxicity metrics, read from this scorer's scores.")


class Agreement(Stored):
    """How far two scorers agree on the continuations of a run, empty ones left out; intervals over prompts.

    None: undefined, because a scorer gives every text the same score (`spearman`) or the same verdict (`kappa`), or
    because there is no text (all three).
    """

    scorers: tuple[str, str] = Field(description="Their labels; the main scorer's is its name.")
    spearman: Estimate | None = Field(description="Spearman's rank correlation of the scores, in [-1, 1].")
    same_verdict: Estimate | None = Field(description="Share of continuations that both or neither find toxic.")
    kappa: Estimate | None = Field(description="Cohen's kappa of these verdicts: agreement beyond chance, at most 1.")
    both: int = Field(description="Continuations that both find toxic: scored 0.5 or more.")
    only_first: int = Field(description="Toxic for the first of `scorers` alone.")
    only_second: int
    neither: int


class GroupEstimates(Stored):
    """What was measured of the prompts of one group."""

    prompts: int = Field(description="Different prompts of the group.")
    metrics: dict[str, Estimate] = Field(description="The main metric first.")
    gap: Estimate | None = Field(
        default=None, description="The main metric less that of all other groups together; None: there are no others."
    )


class TaskAccuracy(Stored):
    """What a model gets right in one task of lm-eval."""

    metric: str = Field(
        description="lm-eval's name of what is counted, as `acc_norm`; with the filter that read the answers, if any."
    )
    accuracy: Estimate = Field(description="Mean over items, with an interval over items.")
    right: list[float] = Field(description="Of each item, in the task's order: 1 right, 0 wrong.")
    items_sha256: str = Field(description="Hash of the items: results are paired where it is the same.")


class Capability(Stored):
    """What a model gets right, by lm-eval."""

    tasks: dict[str, TaskAccuracy]
    average: Estimate | None = Field(description="Mean of the tasks, each weighing the same; None: there are none.")
    left_out: dict[str, str] = Field(default_factory=dict, description="Tasks that were asked for, and why not.")
    settings: dict[str, Any] = Field(default_factory=dict)


#: What the groups are of -> group -> estimates.
ByGroup = dict[str, dict[str, GroupEstimates]]


class Cost(Stored):
    """What the measured model cost on this machine."""

    tokens_per_second: float = Field(description="Generated tokens per second of generation time, all samples.")
    peak_memory_mb: float | None = Field(
        description="Peak memory while the model wrote, MB (10^6 bytes): of all GPUs that it is on, on a CPU resident "
        "memory of the process; None: the model ran on another machine."
    )
    generation_seconds: float
    total_seconds: float
    generated_tokens: int


class OpinionChange(Stored):
    """What a further scorer says of the change from the untouched model."""

    baseline: dict[str, Estimate] = Field(description="The untouched model's toxicity metrics.")
    difference: dict[str, Estimate] = Field(description="As `Comparison.difference`.")


class Comparison(_Shown):
    """The same recipe on the untouched model, paired prompt by prompt."""

    baseline: dict[str, Estimate] = Field(description="The untouched model's metrics.")
    baseline_cost: Cost
    difference: dict[str, Estimate] = Field(
        description="This model minus the untouched one; intervals from a paired bootstrap over the shared prompts."
    )
    opinions: dict[str, OpinionChange] = Field(
        default_factory=dict, description="By label: the further scorers that scored both models."
    )
    groups: ByGroup = Field(default_factory=dict, description="The changes of each group, paired by prompt.")
    capability: dict[str, Estimate] = Field(
        default_factory=dict, description="The changes by task, paired by item, and of their `average`."
    )
    who_is_named: WhoIsNamed | None = Field(default=None, description="The changes, paired by prompt.")

    def _table(self) -> Table:
        rows = [
            (name, str(before), str(self.difference.get(name, ""))) for name, before in _main(self.baseline).items()
        ]
        return (
            "Comparison with the untouched model",
            ("metric", "untouched", "change"),
            rows,
            _rest(self.baseline, "baseline"),
        )


def _whole(value: Any) -> Any:
    """Return JSON values with `?` for half characters, which UTF-8 cannot say."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list | tuple) else value


class Results(_Shown):
    """What one recipe measured on one model with one judging scorer, and what further ones say of the same texts."""

    schema_version: Literal[1] = SCHEMA_VERSION  # another version's file is refused, not half understood
    recipe: str
    created: str = Field(description="UTC, ISO 8601.")
    model: ModelInfo
    detoxifier: DetoxifierInfo | None = Field(default=None, description="None: the untouched model.")
    scorer: ScorerInfo
    fluency_judge: str = Field(description="The model that judged the continuations' perplexity.")
    metrics: dict[str, Estimate]
    opinions: dict[str, Opinion] = Field(default_factory=dict, description="By label: every further scorer.")
    agreement: list[Agreement] = Field(default_factory=list, description="Every pair of scorers, the main one's first.")
    groups: ByGroup = Field(default_factory=dict, description="By what the groups are of; {}: prompts have none.")
    capability: Capability | None = Field(default=None, description="None: it was not measured.")
    comparison: Comparison | None = None
    who_pays: WhoPays | None = Field(default=None, description="None: nothing is attached, or it was not measured.")
    who_is_named: WhoIsNamed | None = Field(default=None, description="None: it was not measured.")
    rows: list[Row]
    identity_rows: list[IdentityRow] = Field(default_factory=list, description="What `who_is_named` is made of.")
    windows: list[Window] = Field(default_factory=list)
    cost: Cost
    speed: Estimate | None = Field(
        default=None,
        description="The detoxified model's tokens per second over the untouched one's, in turns within one process, "
        "with an interval over the pairs of generations. None: not compared. Costs of two results do not compare.",
    )
    settings: dict[str, Any]
    versions: dict[str, str]
    notes: list[str] = Field(default_factory=list, description="Things a reader must know: skipped rows, fallbacks.")

    @property
    def strength(self) -> float:
        """The detoxifier's strength; 0.0 for the untouched model."""
        return self.detoxifier.strength if self.detoxifier else 0.0

    @property
    def label(self) -> str:
        """A short name for tables and plots: `untouched`, or `fusion 0.3`."""
        return f"{self.detoxifier.method} {self.strength:g}" if self.detoxifier else "untouched"

    def _table(self) -> Table:
        scorer, recipe = (cut(text) for text in (f"{self.scorer.name} {self.scorer.version}", self.recipe))
        title = (
            f"Results: {cut(self.label)} on {cut(self.model.name)}; recipe {recipe}, {len(self.rows):,} prompts, "
            f"scorer {scorer}"
        )
        changes = self.comparison.difference if self.comparison else {}
        header = ("metric", "value", "change from untouched") if changes else ("metric", "value")
        rows = [
            (name, str(value), str(changes.get(name, "")))[: len(header)] for name, value in _main(self.metrics).items()
        ]
        return title, header, rows, _rest(self.metrics, "metrics")

    def save(self, path: str | Path) -> None:
        """Write this object as JSON, atomically."""
        try:
            text = self.model_dump_json(indent=1)
        except PydanticSerializationError:  # half a character, as in the name of a file that the locale cannot read
            text = type(self).model_validate(_whole(self.model_dump())).model_dump_json(indent=1)
        write_atomically(Path(path), text.encode())

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read a results.json; raise `UsageError` naming the file and the field that is wrong."""
        path = Path(path)
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise UsageError(f"results: {path} does not exist; `detoxlm evaluate … -o {path}` writes it.") from None
        except OSError as error:
            fix = "; name a file in it, such as results.json" if path.is_dir() else ""
            raise UsageError(f"results: cannot read {path}: {error.strerror}{fix}.") from None
        except (ValidationError, json.JSONDecodeError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise UsageError(
                f"results: {path} is not a results.json of this version: {where}: {first['msg']}."
            ) from None


def _main(metrics: dict[str, Estimate]) -> dict[str, Estimate]:
    known: dict[str, Estimate] = {name: metrics[name] for name in _SHOWN if name in metrics}
    return known or dict(list(metrics.items())[: len(_SHOWN)])


def _rest(metrics: dict[str, Estimate], where: str) -> str:
    more = len(metrics) - len(_main(metrics))
    return f"and {more} more in .{where}" if more else ""
