"""Do the tests notice errors? Makes each mutation of tests/mutations/mutations.toml in a copy of src, one at a time.

Every mutation is one line of the core changed as somebody could get it wrong, with the test that must fail then. Exits
with 1 where a test passes all the same (SURVIVED), or a mutation's text is no longer there. Writes docs/mutations.md.
"""

from __future__ import annotations

import argparse
import importlib
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MUTATIONS = ROOT / "tests" / "mutations" / "mutations.toml"
PAGE = ROOT / "docs" / "mutations.md"
HEAD = """# Errors that the tests notice

Each row is one line of the core, changed as somebody could get it wrong, and the test that fails then. The list is
`tests/mutations/mutations.toml`; this page is written by

```bash
python scripts/mutations.py
```

| what is wrong then | file | test | |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Mutation:
    """A line of `file` (below src/detoxlm) that reads `before`, changed to `after`; `test` (below tests) must fail."""

    breaks: str
    file: str
    before: str
    after: str
    test: str

    def apply(self, source: Path) -> None:
        """Change the file below `source` (a copy of src); raise ValueError where the text is not there exactly once."""
        path = source / "detoxlm" / self.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text.count(self.before) != 1:
            raise ValueError(f"{self.file}: not once but {text.count(self.before)} times there: {self.before}")
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")


def read_mutations(path: Path = MUTATIONS) -> list[Mutation]:
    """Return the mutations of a file, in order."""
    return [Mutation(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]]


def verdict_on(mutation: Mutation | None, tests: Sequence[str]) -> str:
    """Return `caught`, `SURVIVED` or what else went wrong, of tests run on a copy of src; None mutates nothing.

    For a process of its own that has not imported detoxlm: it imports the copy.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation is not None:
            try:
                mutation.apply(source)
            except ValueError as error:
                return f"DOES NOT APPLY: {error}"
        sys.path.insert(0, str(source))
        os.environ |= {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        os.chdir(ROOT)
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            # what was imported before pytest began (`main`) cannot be rewritten any more, and need not be
            quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider"]
            code = pytest.main(["-x", "-q", *quiet, *tests])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return f"NO TEST: {said.getvalue().strip().splitlines()[-1]}"
    return "caught" if code == pytest.ExitCode.TESTS_FAILED else "SURVIVED"


def main() -> int:
    """Try the mutations and print a table; write the page where all were tried."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="only mutations whose file or test contains this; writes no page")
    parser.add_argument("--jobs", type=int, default=2, help="tests at once")
    options = parser.parse_args()
    chosen = [one for one in read_mutations() if options.only in one.file or options.only in one.test]
    if not chosen:  # without tests pytest would run all of them
        parser.error(f"--only: no mutation's file or test contains {options.only!r}")
    # Imported once: each test runs in a fork of this process, and importing takes longer than most tests.
    os.environ["OMP_NUM_THREADS"] = "1"
    for heavy in ("torch", "transformers", "scipy.stats", "peft"):
        importlib.import_module(heavy)
    forks = multiprocessing.get_context("fork")
    with forks.Pool(options.jobs, maxtasksperchild=1) as pool:
        # A test that fails anyway would catch everything.
        untouched = pool.apply_async(verdict_on, (None, sorted({f"tests/{one.test}" for one in chosen})))
        verdicts = [pool.apply_async(verdict_on, (one, [f"tests/{one.test}"])) for one in chosen]
        if (verdict := untouched.get()) != "SURVIVED":
            print(f"the tests do not pass on the code as it is: {verdict}")
            return 1
        rows = []
        for one, found in zip(chosen, verdicts, strict=True):
            verdict = found.get()
            print(f"{verdict:9} {one.file}: {one.breaks}", flush=True)
            name = one.test.partition("::")[2].partition("[")[0] or one.test
            rows.append(f"| {one.breaks} | `{one.file}` | `{name}` | {verdict} |")
    missed = [row for row in rows if not row.endswith("| caught |")]
    print(f"{len(rows) - len(missed)} of {len(rows)} caught")
    if not options.only:
        PAGE.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
