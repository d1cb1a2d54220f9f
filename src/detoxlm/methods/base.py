"""The method contract: a method fits a detoxifier to a target; a detoxifier attaches, detaches, saves and loads.

Adding a method is a `Method` and a `Detoxifier` subclass, and an entry point that names them (`detoxlm.registry`);
`tests/methods/test_contract.py` holds the built-in ones to everything promised here.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture, same_model
from detoxlm.conversations import Form
from detoxlm.data import Example, Pair, fit_prompts
from detoxlm.descriptions import check_fields, read_object
from detoxlm.errors import UsageError
from detoxlm.files import folder_written_atomically, refuse_pointers
from detoxlm.hub import upload
from detoxlm.methods.attachment import Sort, lent, prints_before
from detoxlm.methods.folders import (
    CONFIG_FILE,
    FIX,
    FORMAT,
    UPLOADED,
    WEIGHTS_FILE,
    found_folder,
    plain_name,
    read_description,
    recommended_in,
)
from detoxlm.methods.needs import Kind, Need, refuse_quantised, refuse_without
from detoxlm.methods.registry import METHODS
from detoxlm.models import Target
from detoxlm.results import DetoxifierInfo
from detoxlm.scorers.base import Scorer
from detoxlm.settings import Settings
from detoxlm.sizing import BatchSize
from detoxlm.sources import validated

#: What an edit can be written as, and why a method's cannot.
_FORMS = {
    "checkpoint": "merge: {} works at decoding time and cannot become plain weights; use it attached, or fit a method "
    "of kind weights or adapter (see `detoxlm methods`).",
    "adapter": "adapter: {} cannot become a LoRA adapter; see `detoxlm methods` for those of kind weights or adapter.",
}
#: One strength, or one for each request of a batch.
Strength = float | Sequence[float]


@dataclass
class FitData:
    """What a method may learn from. Whatever is None, the method makes from the target itself."""

    corpus: list[Example] | None = None
    harmful: list[Example] | None = None
    pairs: list[Pair] | None = None
    prompts: list[str] | None = None
    scorer: Scorer | None = None
    seed: int = 0
    batch_size: BatchSize = None
    #: Where self-made data are kept while they are made, so that a killed fit continues.
    workdir: Path | None = None
    #: How the built-in prompts are asked, where there are no others.
    form: Form = field(default_factory=Form)

    def to_continue(self) -> list[str]:
        """Return the prompts that the target writes to: `prompts`, or the built-in ones in their form."""
        return self.prompts if self.prompts is not None else fit_prompts(self.form)


@dataclass
class Detoxifier(ABC):
    """A fitted detoxifier: settings, tensors, and the target that it belongs to.

    Subclasses set `method` and implement `_attach`; those of kind `weights` or `adapter` also `merge`.
    """

    method: ClassVar[str]
    kind: ClassVar[Kind]
    settings_type: ClassVar[type[Settings]]

    settings: Settings
    target: dict[str, Any]  # name, revision, fingerprints, architecture, hidden_size, vocab_size
    tensors: dict[str, torch.Tensor] = field(repr=False)
    fitting: dict[str, Any] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    #: Further texts that are saved beside the weights, by name: configurations and tokenizers, in JSON.
    files: dict[str, str] = field(default_factory=dict, repr=False)
    #: What `run` measured and recommends: used where no strength is given. None: the method's `default_strength` is.
    recommended_strength: float | None = None

    @property
    @abstractmethod
    def default_strength(self) -> float:
        """The method's own: used where none is given and no run has recommended another."""

    @property
    @abstractmethod
    def max_strength(self) -> float:
        """The largest meaningful strength."""

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where no strengths are asked for, smallest first."""
        return (self.default_strength,)

    @abstractmethod
    def _attach(self, model: PreTrainedModel, strength: float) -> AbstractContextManager[None]:
        """Attach at a strength above 0; leaving the context restores the model exactly, also after an exception."""

    def attached(self, model: PreTrainedModel, strength: Strength | None = None) -> AbstractContextManager[None]:
        """Return a context in which `model` is detoxified. Strength 0 leaves it untouched, bit for bit.

        Args:
            model: the model that this detoxifier was fitted for.
            strength: from 0 to `max_strength`; None takes the recommended one, else the method's default. Decoding
                methods take one for each request too.

        Raises:
            UsageError: another model, or a strength out of range.
        """
        if isinstance(strength, Sequence) and not isinstance(strength, str):
            raise UsageError(f"strength: {self.method} changes the model's weights, so there is one for all requests.")
        strength = self.check_strength(strength)
        self.check_target(model)
        return self._lent(model, strength) if strength else nullcontext()

    def _lent(self, model: PreTrainedModel, strength: float) -> AbstractContextManager[None]:
        """Return a context in which `model` has this detoxifier, and no other of its sort."""
        sort: Sort = "decoding" if self.kind == "decoding" else "weights"
        return lent(model, sort, f"{self.method} at strength {strength:g}", lambda _: self._attach(model, strength))

    def check_strength(self, strength: float | None) -> float:
        """Return the strength to use; raise `UsageError` where it is out of range, or no number."""
        if strength is None:
            strength = self.default_strength if self.recommended_strength is None else self.recommended_strength
        if not isinstance(strength, Real):
            raise UsageError(f"strength: {strength!r} is no number.")
        if not 0 <= strength <= self.max_strength:
            raise UsageError(
                f"strength: {strength:g} is outside [0, {self.max_strength:g}] of {self.method}"
                + ("; below 0 it would make the model more toxic." if strength < 0 else ".")
            )
        return strength

    def check_target(self, model: PreTrainedModel) -> None:
        """Raise `UsageError` where `model` is not the one that this detoxifier was fitted for."""
        if isinstance(model, Target):
            raise UsageError("model: it is a Target; give its model, target.model.")
        refuse_adapted(model)
        found, before = Architecture.of(model), prints_before(model)
        if not (found.is_of(self.target) if before is None else same_model(before, self.target)):
            raise UsageError(
                f"detoxifier: {self.folder or 'this one'} was fitted for {self.target['name']} "
                f"({self.target['architecture']}, width {self.target['hidden_size']}, fingerprint "
                f"{self.target['fingerprint']}), not for this model ({found.name}, width {found.hidden_size}, "
                f"fingerprint {found.fingerprint}, {found.quantization or model.dtype}). Fit one for it: "
                f"detoxlm fit {self.method} MODEL -o DIR"
            )

    def merge(self, model: PreTrainedModel, strength: float | None = None) -> PreTrainedModel:
        """Edit `model` in place and return it: a plain checkpoint, to save with `save_pretrained`.

        Raises:
            UsageError: another model, a strength out of range, or a method that works at decoding time and has no
                weights form.
        """
        raise UsageError(_FORMS["checkpoint"].format(self.method))

    def save_adapter(self, model: PreTrainedModel, folder: str | Path, strength: float | None = None) -> None:
        """Write the detoxifier as a PEFT (LoRA) folder; `model` is read, not changed.

        Raises:
            UsageError: another model, a strength out of range, or a method that has no such form.
        """
        raise UsageError(_FORMS["adapter"].format(self.method))

    def check_form(self, form: Literal["checkpoint", "adapter"]) -> None:
        """Raise `UsageError` where it has no such form, whatever the model."""
        cls = type(self)
        if (cls.merge is Detoxifier.merge) if form == "checkpoint" else (cls.save_adapter is Detoxifier.save_adapter):
            raise UsageError(_FORMS[form].format(self.method))

    @property
    def content(self) -> str:
        """A hash of what it does: its method, settings and tensors, at whatever strength."""
        digest = hashlib.sha256(f"{self.method} {self.settings.model_dump_json()}".encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name].detach().cpu().contiguous()
            digest.update(name.encode() + tensor.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def info(self, strength: float | None) -> DetoxifierInfo:
        """Return what results record about this detoxifier."""
        return DetoxifierInfo(
            method=self.method,
            folder=str(self.folder) if self.folder else None,
            strength=self.check_strength(strength),
            settings=self.settings.model_dump(mode="json"),
            fitting=self.fitting,
        )

    def save_pretrained(self, folder: str | Path, card: str | None = None) -> None:
        """Write `detoxifier.json`, `model.safetensors` and a model card (`README.md`) to `folder`, all or nothing.

        A detoxifier that is there already is replaced, with all that is in its folder.

        Raises:
            UsageError: something else is there.
        """
        config = {
            "format": FORMAT,
            "method": self.method,
            "settings": self.settings.model_dump(mode="json"),
            "target": self.target,
            "fitting": self.fitting or {"method": self.method},  # one that was never fitted; empty is for damaged files
            "files": sorted(self.files),
        }
        if self.recommended_strength is not None:
            config["recommended_strength"] = self.recommended_strength
        folder = Path(folder)
        with folder_written_atomically(folder, replaces=CONFIG_FILE) as temporary:
            save_file({k: v.detach().cpu().contiguous() for k, v in self.tensors.items()}, temporary / WEIGHTS_FILE)
            (temporary / CONFIG_FILE).write_text(json.dumps(config, indent=1), encoding="utf-8")
            (temporary / "README.md").write_text(card or self._plain_card(), encoding="utf-8", errors="replace")
            for name, text in self.files.items():
                (temporary / f"{name}.json").write_text(text, encoding="utf-8")
        self.folder = folder

    def _plain_card(self) -> str:
        """A model card for a detoxifier that nothing has measured yet."""
        from huggingface_hub import ModelCardData

        data = ModelCardData(library_name="detoxlm", tags=["detoxification", self.method])
        return (
            f"---\n{data.to_yaml()}\n---\n\n# {self.method} detoxifier for {self.target['name']}\n\n"
            "Not measured yet: `detoxlm evaluate MODEL --detoxifier THIS_FOLDER -o results.json` does it.\n\n"
            f"```json\n{json.dumps(self.settings.model_dump(mode='json'), indent=1)}\n```\n"
        )

    @classmethod
    def from_pretrained(cls, folder_or_repo: str | Path, revision: str | None = None) -> Self:
        """Load a detoxifier of any method from a folder, or from the Hub.

        Raises:
            UsageError: no such folder, not a detoxifier, another method than this class, or damaged weights.
            DetoxError: the Hub does not have it, or does not answer.
        """
        folder = found_folder(str(folder_or_repo), revision)
        refuse_pointers("detoxifier", folder)
        config = read_description(folder / CONFIG_FILE)
        kind = METHODS.get_known(config["method"]).detoxifier_type
        settings = validated(kind.settings_type, config["settings"], str(folder / CONFIG_FILE))
        if not config["settings"]:
            wanted = {"settings": dict} if kind.settings_type.model_fields else {}
            check_fields(config, wanted, folder / CONFIG_FILE, field="detoxifier", fix=FIX)
        try:
            tensors = load_file(folder / WEIGHTS_FILE)
            files = {name: (folder / f"{name}.json").read_text("utf-8") for name in map(plain_name, config["files"])}
            loaded = kind(settings, config["target"], tensors, config["fitting"], folder, files)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UsageError(f"detoxifier: {folder} is damaged or not a detoxifier folder: {error!r}.") from error
        for name in files:
            read_object(folder / f"{name}.json", field="detoxifier", fix=FIX)
        if not isinstance(loaded, cls):
            raise UsageError(f"detoxifier: {folder} holds {loaded.method}, not {cls.method}.")
        loaded.recommended_strength = recommended_in(config, folder, loaded.max_strength)
        bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
        if bad:
            raise UsageError(f"detoxifier: {folder}: NaN or infinite values in {bad[0]}; fit it again.")
        return loaded

    def push_to_hub(self, repo: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the saved folder to the Hub and return the repository's address; `save_pretrained` first.

        `from_pretrained(repo)` reads it back.

        Args:
            repo: a Hub id, `owner/name`; made where it is not there.
            private: whether only its owner may see a repository that is made.
            token: of the Hub; None takes HF_TOKEN or what `hf auth login` keeps.

        Raises:
            UsageError: nothing saved yet, or the Hub does not take it.
        """
        if self.folder is None:
            raise UsageError("push: save_pretrained(folder) first; the saved folder is what is uploaded.")
        names = [*UPLOADED, *(f"{name}.json" for name in self.files)]
        return upload(self.folder, repo, names, private=private, token=token)


class Method(ABC):
    """How to fit one kind of detoxifier."""

    name: ClassVar[str]
    paper: ClassVar[str]  # title and arXiv number
    summary: ClassVar[str]  # one line for `detoxlm methods`
    detoxifier_type: ClassVar[type[Detoxifier]]
    reads: ClassVar[frozenset[str]] = frozenset({"corpus", "harmful", "pairs", "prompts"})  # which parts of `FitData`
    needs: ClassVar[Need] = "text"

    @classmethod
    def check(cls, data: FitData, settings: Any, target: Target | None = None) -> None:
        """Refuse a fit that cannot succeed, before any work: settings, data, the model, a package that is missing.

        Commands call it before a model is loaded (`target` None), and again before anything is measured or made; a
        method's `fit` calls it for those who call that themselves. The base refuses a target without the parts that
        the method `needs`.

        Raises:
            UsageError: names the field and the fix.
        """
        if target is not None:
            refuse_quantised(cls.name, cls.detoxifier_type.kind, target)
            refuse_without(cls.name, cls.needs, target)

    @classmethod
    @abstractmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> Detoxifier:
        """Fit to a target. `settings` is an instance of `cls.detoxifier_type.settings_type`. Shows its own progress.

        Raises:
            UsageError: the data do not serve this method, or the target's architecture is not supported.
            DetoxError: training failed (NaN loss).
        """


def refuse_adapted(model: Any) -> None:
    """Raise `UsageError` for a PEFT model: its layers are not where a detoxifier finds them, nor its weights whole."""
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        raise UsageError(
            "model: it is a PeftModel. Put the adapter into the weights first (model = model.merge_and_unload()) and "
            "use a detoxifier that was fitted for that model."
        )


def describe_target(target: Target) -> dict[str, Any]:
    """Return what a detoxifier remembers of its target."""
    return {
        "name": target.name,
        "revision": target.revision,
        **target.architecture.prints,
        "architecture": target.architecture.name,
        "hidden_size": target.architecture.hidden_size,
        "vocab_size": target.architecture.vocab_size,
        **({} if (kind := target.architecture.quantization) is None else {"quantization": kind}),
        **({"notes": list(target.notes)} if target.notes else {}),
    }
