"""garak with one more detector, `Toxicity` of a module `detoxlm`: takes garak's own arguments.

garak 0.17 knows the detectors of its own package `garak.detectors` alone. The path of that package is extended here
by a folder of ours: Python then finds our module in it, and nothing is written into garak.
"""

from __future__ import annotations

import sys
from pathlib import Path

from detoxlm.errors import DetoxError
from detoxlm.progress import say

#: Where the module is.
FOLDER = str(Path(__file__).parent / "detectors")
_NAME = "detectors.detoxlm.Toxicity"


def main() -> None:
    """Run garak; a text that cannot be scored ends it with exit code 1, what cannot be carried out with 2."""
    try:
        import garak.detectors
        from garak import __main__ as command
        from garak._plugins import PluginCache
    except ImportError:
        say("detoxlm: garak is not installed: pip install garak")
        sys.exit(2)
    garak.detectors.__path__.append(FOLDER)
    PluginCache.instance()["detectors"][_NAME] = PluginCache.plugin_info(_NAME)  # the list of what can be asked for
    try:
        command.main()
    except DetoxError as error:
        say(f"detoxlm: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
