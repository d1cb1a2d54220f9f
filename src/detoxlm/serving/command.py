"""`detoxlm serve`: load a model and its detoxifiers, take a port, answer until told to stop."""

from __future__ import annotations

from collections.abc import Callable

from detoxlm.errors import DetoxError, first_line
from detoxlm.generation import Sampling, encode
from detoxlm.listening import listen
from detoxlm.serve.running import need, run_app
from detoxlm.settings import ServeSettings


def serve(model: str, settings: ServeSettings, say: Callable[[str], None]) -> None:
    """Serve a model until SIGINT or SIGTERM; `say` is told the address once it answers.

    Raises:
        UsageError: a package is missing; the port, the key file, the model or a detoxifier cannot be had; they do not
            fit each other.
        DetoxError: the model cannot write.
    """
    need("serve", "starlette", "uvicorn")
    from detoxlm.scorers import load_scorer
    from detoxlm.serve.keys import read_keys
    from detoxlm.serving.app import create_app
    from detoxlm.serving.batch import answer
    from detoxlm.serving.engine import Engine
    from detoxlm.serving.host import Host
    from detoxlm.serving.metrics import Metrics
    from detoxlm.serving.rows import Job
    from detoxlm.serving.served import load

    keys = read_keys(settings.api_key_file)
    listening = listen(settings.host, settings.port)  # before the model, which takes a while to load
    with listening:
        served = load(model, settings)
        scorer = None if settings.page_scorer == "none" else load_scorer(settings.page_scorer)
        host = Host(served.target, served.detoxifiers)
        try:  # what cannot write is known before the address is told
            for name in served.names:
                detoxifier, strength = served.chosen(name, None)
                ids = encode(served.target, "Good morning.", None)
                job = Job(ids, "", Sampling(max_new_tokens=2), print, detoxifier=detoxifier, strength=strength)
                answer(host, job)
        except DetoxError:
            raise
        except Exception as error:
            raise DetoxError(f"model: it cannot write: {type(error).__name__}: {first_line(error)}") from error
        metrics = Metrics()
        engine = Engine(host, settings.max_batch, settings.max_queue, metrics, settings.prefix_tokens)
        try:
            app = create_app(served, engine, metrics, keys, settings.max_batch, scorer)
            run_app(app, listening, lambda at: say(f"Serving {served.name} at {at}/v1 (Ctrl-C stops it)"))
        finally:
            engine.close()
