"""Commands whose arguments are texts: one that begins with a dash would be taken for an option, and is told how not."""

from __future__ import annotations

import logging
import shlex
from typing import Any

from typer.core import TyperCommand

from detoxlm.errors import UsageError

log = logging.getLogger(__name__)


class TextCommand(TyperCommand):
    """A command that takes texts."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as ever; where an argument is no option, say how to give it as a text; warn of an option among texts.

        Raises:
            UsageError: an argument begins with a dash and is no option.
        """
        given = list(args)  # parsing eats them
        known = {name for one in self.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}
        behind = given[given.index("--") + 1 :] if "--" in given else []
        if late := next((one for one in behind if one.split("=")[0] in known), None):
            log.warning("%s: %s stands behind --, where all is text; put options before it.", ctx.info_name, late)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # Typer has brought its own click, with its own classes, since 0.20
            if not hasattr(error, "option_name") or not hasattr(error, "possibilities"):  # click's NoSuchOption
                raise
            texts = [one for one in given if one.startswith("-") and one.split("=")[0] not in known]
            if not texts or (error.possibilities and " " not in texts[0]):  # rather an option that is misspelt
                raise
            mended = shlex.join(["detoxlm", ctx.info_name, *(one for one in given if one not in texts), "--", *texts])
            raise UsageError(
                f"{ctx.info_name}: there is no option {shlex.quote(texts[0])}. A text that begins with a dash goes "
                f"behind --, after all options: {mended}"
            ) from None
