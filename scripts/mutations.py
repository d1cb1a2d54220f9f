"""Do the tests notice errors? Makes each mutation of tests/mutations/mutations.toml in a copy of src, one at a time.

Every mutation is one line of the core changed as somebody could get it wrong, with the test that must fail then. Exits
with 1 where a test passes all the same (SURVIVED), or a mutation's text is no longer there. Writes docs/mutations.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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
#: What pytest exits with where tests ran and failed; 2 to 5 mean that it found no test, or broke before.
FAILED = 1


@dataclass(frozen=True)
class Mutation:
    """One line of `file` (below src/detoxlm) that reads `before`, changed to `after`; `test` (below tests) must fail."""

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
    """Return `caught`, `SURVIVED` or what else went wrong, of tests run on a copy of src; None mutates nothing."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation is not None:
            try:
                mutation.apply(source)
            except ValueError as error:
                return f"DOES NOT APPLY: {error}"
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, FAILED):
        return f"NO TEST: {(done.stdout + done.stderr).strip().splitlines()[-1]}"
    return "caught" if done.returncode == FAILED else "SURVIVED"


def main() -> int:
    """Try the mutations and print a table; write the page where all were tried."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="only mutations whose file or test contains this; writes no page")
    parser.add_argument("--jobs", type=int, default=2, help="tests at once")
    options = parser.parse_args()
    chosen = [one for one in read_mutations() if options.only in one.file or options.only in one.test]
    # A test that fails anyway would catch everything.
    tests = sorted({f"tests/{one.test}" for one in chosen})
    if (untouched := verdict_on(None, tests)) != "SURVIVED":
        print(f"the tests do not pass on the code as it is: {untouched}")
        return 1
    rows = []
    with ThreadPoolExecutor(options.jobs) as workers:
        verdicts = workers.map(lambda one: verdict_on(one, [f"tests/{one.test}"]), chosen)
        for one, verdict in zip(chosen, verdicts, strict=True):
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
