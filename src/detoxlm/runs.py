"""The folder of `run`: what another run has left in it is kept apart, not written over."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from detoxlm.errors import DetoxError
from detoxlm.journal import digest_of
from detoxlm.methods.folders import CONFIG_FILE

log = logging.getLogger(__name__)

#: Where, in the folder of a run, those are that were in it before.
EARLIER = "earlier"
#: What a run leaves.
_PARTS = ("detoxifier", "model", "results", "results.json", "report.html")


def keep_apart(out: Path, measurement: str, fit: str | None) -> None:
    """Make room in `out` for a run, and bring back what this very run has left there.

    A run of another method, other settings, data, prompts or versions goes to `earlier/METHOD-DIGITS/`, whole; what the
    two have in common, the untouched model's results or the detoxifier, is copied.

    Args:
        out: the folder.
        measurement: what names the measurement of the untouched model, a `Measurement.digest` of `detoxlm.recipes`.
        fit: what names the fit, `detoxlm.fitting.fit_digest`; None: nothing is fitted.

    Raises:
        DetoxError: something cannot be moved.
    """
    wanted = (measurement, fit)
    found = _digests(out)
    if all(digest in (None, mine) for digest, mine in zip(found, wanted, strict=True)):
        return
    try:
        old = _set_aside(out, found)
        again = next((run for run in sorted((out / EARLIER).iterdir()) if _digests(run) == wanted), None)
        if again is not None:
            for part in again.iterdir():
                part.rename(out / part.name)
            again.rmdir()
            log.warning("%s: this run is there already, from before; it goes on from %s.", out, again)
        else:
            _copy_common(old, out, found, wanted)
    except OSError as error:
        raise DetoxError(f"cannot keep the earlier run in {out}: {error}. Choose another -o.") from error


def file_of(folder: Path, method: str, strength: float) -> Path:
    """Return where, in the folder of a form, the results of one strength are kept."""
    return folder / f"{method}-{strength:g}.json"


def _set_aside(out: Path, found: tuple[str | None, str | None]) -> Path:
    """Move a run to a folder of its own, and return that."""
    name = f"{_method(out) or 'unfitted'}-{digest_of(found)[:8]}"
    old, i = out / EARLIER / name, 1
    while old.exists():
        i += 1
        old = out / EARLIER / f"{name}-{i}"
    old.mkdir(parents=True)
    for name in _PARTS:
        if (out / name).exists():
            (out / name).rename(old / name)
    log.warning("%s holds a run of other settings, data or versions: kept in %s.", out, old)
    return old


def _copy_common(old: Path, out: Path, found: tuple[str | None, str | None], wanted: tuple[str, str | None]) -> None:
    if found[0] == wanted[0]:
        (out / "results").mkdir()
        shutil.copy2(old / "results" / "untouched.json", out / "results")
    if wanted[1] is not None and found[1] == wanted[1]:
        shutil.copytree(old / "detoxifier", out / "detoxifier")


def _digests(out: Path) -> tuple[str | None, str | None]:
    """What names the measurement and the fit that are in a folder; None: it has none, "": it does not say."""
    return (
        _said(out / "results" / "untouched.json", "settings", "measurement"),
        _said(out / "detoxifier" / CONFIG_FILE, "fitting", "fit"),
    )


def _method(out: Path) -> str | None:
    said = _said(out / "detoxifier" / CONFIG_FILE, "method")
    return said if said and said.replace("-", "").replace("_", "").isalnum() else None


def _said(file: Path, *keys: str) -> str | None:
    """Return a text in a JSON file; None: there is no file, "": it says nothing of it."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return value if isinstance(value, str) else ""
