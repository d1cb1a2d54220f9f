"""What can be refused is refused before the work: before a model is loaded, and again before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from detoxlm.adapters import ADAPTER_CONFIG
from detoxlm.checkpoints import CHECKPOINT_FILE
from detoxlm.comparing import refuse_unlike
from detoxlm.conversations import form_of
from detoxlm.errors import UsageError
from detoxlm.files import check_output_file, check_output_folder
from detoxlm.generation import trimmed
from detoxlm.methods import Detoxifier, Method
from detoxlm.methods.folders import CONFIG_FILE
from detoxlm.models import EMBEDDED_TARGET, Check
from detoxlm.recipes import Task
from detoxlm.results import NO_JUDGE, Results
from detoxlm.scorers.base import Scorer
from detoxlm.settings import EvaluateSettings, ExportSettings


def check_run_folder(out: Path, method: type[Method] | None) -> None:
    """Raise `UsageError` where what `run` leaves cannot be put into `out`; without a method it fits nothing."""
    check_output_folder(out)
    check_output_folder(out / "results")
    for name in ("results.json", "report.html"):
        check_output_file(out / name)
    if method is None:
        return
    check_output_folder(out / "detoxifier", CONFIG_FILE)
    if method.detoxifier_type.kind != "decoding":
        check_output_folder(out / "model", CHECKPOINT_FILE)


def check_export_folder(model: str, detoxifier: str, settings: ExportSettings) -> None:
    """Raise `UsageError` where the folder to export to is one of those it comes from, or of another kind."""
    for source, what in ((detoxifier, "detoxifier"), (model, "model")):
        if settings.output.exists() and Path(source).exists() and settings.output.samefile(source):
            raise UsageError(f"output: {settings.output} is the {what} itself; choose another -o.")
    check_output_folder(settings.output, ADAPTER_CONFIG if settings.form == "adapter" else CHECKPOINT_FILE)


def strengths_in(text: str) -> list[float]:
    """Return the strengths that are written with commas between them, smallest first, each once.

    Raises:
        UsageError: one is no number above 0, or there is none.
    """
    try:
        found = sorted({TypeAdapter(float).validate_python(part.strip()) for part in text.split(",") if part.strip()})
    except ValidationError:
        found = []
    if not found or found[0] <= 0:
        raise UsageError(f"strengths: {text!r} is not a list of numbers above 0, such as 0.1,0.3,0.5.")
    return found


def check_strengths(method: type[Method], settings: Any, strengths: Sequence[float] | None) -> None:
    """Raise `UsageError` where a strength is out of the range that the method has with these settings."""
    try:
        unfitted = method.detoxifier_type(settings, {}, {})
        _ = unfitted.max_strength
    except Exception:  # of another package, whose detoxifier needs more: its range is known after the fit
        return
    for strength in strengths or ():
        unfitted.check_strength(strength)


def baseline_for(settings: EvaluateSettings, model: str, task: Task) -> Results | None:
    """Read the baseline and hold it to what is known before the model is loaded; None: none is asked for.

    Raises:
        UsageError: it cannot be read, is where the results are to go, or is of another measurement or model.
    """
    if settings.baseline is None:
        return None
    baseline = Results.load(settings.baseline)
    if settings.output.exists() and settings.output.samefile(settings.baseline):
        raise UsageError(f"output: {settings.output} is the baseline itself; choose another -o.")
    samples, elsewhere = task.recipe.sampling.samples, settings.engine.startswith("openai:")
    known = {
        "recipe": task.recipe.name,
        "prompts": trimmed(task.prompts),
        "form": form_of(task.prompts),
        "samples per prompt": [samples] * len(task.prompts),
        "sampling": {**task.recipe.sampling.model_dump(), "seed": None},
        # the name that it will have
        "model": EMBEDDED_TARGET if model == "embedded" and not elsewhere else model,
    }
    if elsewhere and settings.fluency_judge is None:
        known["fluency judge"] = NO_JUDGE
    elif baseline.fluency_judge.endswith(", untouched") != (settings.fluency_judge is None):
        known["fluency judge"] = settings.fluency_judge or f"{known['model']}, untouched"
    refuse_unlike(baseline, known)
    return baseline


def check_baseline_scorer(baseline: Results | None, scorer: Scorer) -> None:
    """Raise `UsageError` where another scorer judged the baseline."""
    if baseline is not None:
        refuse_unlike(baseline, {"scorer": (scorer.name, scorer.version, scorer.revision)})


def check_of(detoxifier: Detoxifier | None, quantization: str | None = None) -> Check | None:
    """Return what refuses another model than the detoxifier's by its configuration, before weights are read.

    Fingerprints, which are of weights, tell more once the model is there. `quantization` is what weights are made to.
    """
    if detoxifier is None:
        return None

    def check(config: dict[str, Any]) -> None:
        within = config.get("text_config") or config
        width = next((within[key] for key in ("word_embed_proj_dim", "hidden_size", "n_embd") if key in within), None)
        made_for = detoxifier.target
        kind = made_for["architecture"] if within is not config else config.get("model_type", made_for["architecture"])
        if kind != made_for["architecture"] or width not in (None, made_for["hidden_size"]):
            raise UsageError(
                f"detoxifier: {detoxifier.folder} was fitted for {made_for['name']} ({made_for['architecture']}, width "
                f"{made_for['hidden_size']}), not for this model ({kind}, width {width}). Fit one for it: "
                f"detoxlm fit {detoxifier.method} MODEL -o DIR"
            )
        before = made_for.get("quantization")
        if "quantization_config" not in config and (before or "none").split()[0] != (quantization or "none"):
            raise UsageError(
                f"detoxifier: {detoxifier.folder} was fitted for {made_for['name']} with weights that are "
                f"{before or 'not quantised'}, and these are {quantization or 'not quantised'}. Load the model as it "
                f"was then, or fit one for it: detoxlm fit {detoxifier.method} MODEL"
                f"{f' --quantization {quantization}' if quantization else ''} -o DIR"
            )

    return check
