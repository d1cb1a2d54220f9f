"""Which engine a setting names."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from detoxlm import processes
from detoxlm.api import Api, key_in
from detoxlm.engines.endpoint import Endpoint
from detoxlm.errors import DetoxError, UsageError
from detoxlm.models import tokenizer_here
from detoxlm.settings import EvaluateSettings, RunSettings
from detoxlm.vllm_installed import installed_version

#: Seconds that one request may take: a long answer of a busy server.
SECONDS = 600.0
#: OpenAI's own address has the key that its clients take; every other one has one that is not sent to strangers.
OPENAI, OPENAI_KEY, OTHER_KEY = "api.openai.com", "OPENAI_API_KEY", "ENDPOINT_API_KEY"
#: Settings of a model in this process.
_OF_HERE = (
    "dtype",
    "device",
    "device_map",
    "max_memory",
    "quantization",
    "revision",
    "trust_remote_code",
    "detoxifier",
    "who_pays",
)
#: Settings of `run` for what it fits.
_OF_A_FIT = ("calibrator", "corpus", "harmful", "corpus_column", "pairs")
#: Settings of a model in this process that vLLM takes another way, or not at all.
_NOT_IN_VLLM = ("device_map", "max_memory", "quantization")


def check_engine(settings: EvaluateSettings | RunSettings) -> None:
    """Raise `UsageError` where a setting has no meaning for the engine."""
    engine = settings.engine
    if engine == "transformers":
        return
    if processes.started()[1] > 1:
        raise UsageError(f"processes: --engine {engine} is measured by one; start detoxlm without a launcher.")
    if settings.capability != "none":
        raise UsageError("capability: lm-eval asks a model of transformers; leave --engine out, or --capability.")
    if engine == "vllm":
        installed_version()
        _refuse(settings, _NOT_IN_VLLM, "vLLM places the model itself, with weights as the checkpoint has them")
    else:
        _refuse(settings, _OF_HERE, f"the model behind --engine {engine} is loaded there")
        _refuse(settings, _OF_A_FIT, f"the detoxifier behind --engine {engine} is fitted")


def _refuse(settings: EvaluateSettings | RunSettings, names: Sequence[str], why: str) -> None:
    """Raise `UsageError` where one of the settings that are named is given."""
    for name in names:
        if getattr(settings, name, None) not in (None, False, "none"):
            said = "name a served one behind #, as #MODEL:FOLDER" if name == "detoxifier" else "leave it out"
            raise UsageError(f"{name}: {why}; {said}.")


def reads_text(settings: EvaluateSettings | RunSettings) -> bool:
    """Tell whether model perplexity is asked of an endpoint: it is slow there, so a setting of it has to be given."""
    if settings.fluency_text is not None:
        return str(settings.fluency_text).lower() != "none"
    return "fluency_tokens" in settings.model_fields_set


def endpoint(
    model: str, settings: EvaluateSettings | RunSettings, prompts: Sequence[str], strength: float | None
) -> Endpoint:
    """Return what `--engine openai:URL[#NAME]` names, tried out, to be closed; without a name requests say `model`.

    Args:
        model: the model's name; for model perplexity also where its tokenizer is.
        settings: the engine, and what is asked for through it.
        prompts: those that will be asked; one of each form is tried.
        strength: asked of the server with every request; None: what it was started with.

    Raises:
        UsageError: no such address, a key that is refused, a model that is not served.
        DetoxError: it does not answer.
    """
    address, _, name = settings.engine.removeprefix("openai:").partition("#")
    parts = urlsplit(address)
    base = (address if parts.path.strip("/") else f"{address.rstrip('/')}/v1").rstrip("/")
    variable = OPENAI_KEY if parts.hostname == OPENAI else OTHER_KEY
    api = Api(f"engine {base}", base, named_by="engine", key_variable=variable, key=key_in(variable), seconds=SECONDS)
    found = Endpoint(api, base, name or model, model, strength, settings.fluency_judge is not None)
    try:
        found.try_out(prompts)
        if reads_text(settings):
            found.cutting = tokenizer_here(model)
            if found.cutting is None or found.says is None:
                raise UsageError(
                    "fluency_tokens, fluency_text: model perplexity is measured through `detoxlm serve`, and with "
                    "MODEL a local folder of that model, or embedded, for its tokenizer; leave these options out."
                )
    except DetoxError:
        found.close()
        raise
    return found
