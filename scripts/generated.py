"""A file of this repository that is written by a script: `--check` tells whether it says what the definitions say."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(path: Path, text: str) -> None:
    """Write `text` to `path`; with `--check` on the command line write nothing, and fail where the file differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="only look whether the file is up to date")
    if not parser.parse_args().check:
        path.write_text(text, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        name, script = path.relative_to(ROOT), Path(sys.argv[0]).name
        sys.exit(f"{name}: not what the definitions say; `python scripts/{script}` writes it again.")
