"""The page at `/`: the untouched and the detoxified model side by side, for people."""

from __future__ import annotations

import html
from importlib import resources
from string import Template

from detoxlm.scorers.base import Scorer
from detoxlm.serving.served import Served

#: What browsers let the page do: its own script and style, and requests to this server.
POLICY = (
    "default-src 'self'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'"
)


def page(served: Served, scorer: Scorer | None) -> str:
    """Return the page; `scorer` is whose toxicity it shows."""
    options = []
    for name in served.names[1:] or [served.name]:
        detoxifier = served.detoxifiers.get(name)
        most = 0.0 if detoxifier is None else detoxifier.max_strength
        label = "none" if detoxifier is None else f"{detoxifier.method} ({name.partition(':')[2]})"
        if served.merged is not None:
            label = f"{served.merged[0]}, in the weights at strength {served.merged[1]:g}"
        strength = served.chosen(name, None)[1]
        options.append(
            f'<option value="{html.escape(name)}" data-max="{most:g}" data-strength="{strength:g}">'
            f"{html.escape(label)}</option>"
        )
    source = resources.files("detoxlm.serving").joinpath("page.html").read_text("utf-8")
    chat = '<option value="chat/completions">a message</option>' if served.target.tokenizer.chat_template else ""
    return Template(source).substitute(
        model=html.escape(served.name),
        models="".join(options),
        chat=chat,
        window=served.window or 4096,
        scorer="" if scorer is None else html.escape(scorer.name),
    )
