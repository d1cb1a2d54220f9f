"""Errors that a user sees. Every message names what is wrong (the field) and what would mend it (the fix)."""

from collections.abc import Iterable, Sequence


class DetoxError(Exception):
    """The work failed (exit code 1): a scorer gave no score, a model produced NaN, the disk was full."""

    exit_code = 1


class UsageError(DetoxError):
    """The request cannot be carried out as given (exit code 2): a missing file, a wrong column, an unknown name."""

    exit_code = 2


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """Return the error for a name that is in no registry, with the nearest known name first."""
    return UsageError(f"{kind}: unknown name {name!r}.{did_you_mean(name, known)} Known: {', '.join(sorted(known))}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question, with a space before it, that names the known name nearest to `name`; empty if none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for messages of one line; its class where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def list_of_texts(field: str, given: Sequence[str]) -> list[str]:
    """Return texts as a list; a string alone would be taken for a list of its letters.

    Args:
        field: what they are called in messages, such as `prompts`.
        given: the texts.

    Raises:
        UsageError: one text in place of a list, or something in it that is no text.
    """
    if isinstance(given, str | bytes):
        raise UsageError(f"{field}: {given!r:.40} is one text, and a list of them is expected; write [text].")
    found = list(given)
    for i, one in enumerate(found):
        if not isinstance(one, str):
            raise UsageError(f"{field}: {field}[{i}] is {one!r:.40}, not a text; leave it out, or give its text.")
    return found
