"""Which engine a setting names."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from detoxlm import processes
from detoxlm.api import Api, key_in
from detoxlm.engines.endpoint import Endpoint
from detoxlm.errors import DetoxError, UsageError
from detoxlm.models import tokenizer_here
from detoxlm.settings import EvaluateSettings

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


def check_engine(settings: EvaluateSettings) -> None:
    """Raise `UsageError` where a setting has no meaning for the engine."""
    if settings.engine == "transformers":
        return
    for name in _OF_HERE:
        if getattr(settings, name) not in (None, False, "none"):
            said = "name a served one behind #, as #MODEL:FOLDER" if name == "detoxifier" else "leave it out"
            raise UsageError(f"{name}: the model behind --engine {settings.engine} is loaded there; {said}.")
    if processes.started()[1] > 1:
        raise UsageError("processes: a served model is measured by one; start detoxlm without a launcher.")
    if settings.capability != "none":
        raise UsageError("capability: lm-eval asks a model in this process; leave --engine out, or --capability.")


def reads_text(settings: EvaluateSettings) -> bool:
    """Tell whether model perplexity is asked of an endpoint: it is slow there, so a setting of it has to be given."""
    if settings.fluency_text is not None:
        return str(settings.fluency_text).lower() != "none"
    return "fluency_tokens" in settings.model_fields_set


def endpoint(model: str, settings: EvaluateSettings, prompts: Sequence[str]) -> Endpoint:
    """Return what `--engine openai:URL[#NAME]` names, tried out, to be closed; without a name requests say `model`.

    Raises:
        UsageError: no such address, a key that is refused, a model that is not served.
        DetoxError: it does not answer.
    """
    address, _, name = settings.engine.removeprefix("openai:").partition("#")
    parts = urlsplit(address)
    base = (address if parts.path.strip("/") else f"{address.rstrip('/')}/v1").rstrip("/")
    variable = OPENAI_KEY if parts.hostname == OPENAI else OTHER_KEY
    api = Api(f"engine {base}", base, named_by="engine", key_variable=variable, key=key_in(variable), seconds=SECONDS)
    found = Endpoint(api, base, name or model, model, settings.strength, settings.fluency_judge is not None)
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
