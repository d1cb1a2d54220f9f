"""Texts labelled in a terminal: one is shown, one key answers."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from detoxlm.errors import UsageError
from detoxlm.labelling.session import Session
from detoxlm.labelling.shown import MEANING, plain
from detoxlm.labels.files import VERDICTS
from detoxlm.labels.texts import Readable

if sys.platform == "win32":
    import msvcrt
else:
    import termios
    import tty

_LINE = "1 toxic   2 not toxic   3 unsure   u undo   q quit"
_KEYS = "123uq"
_WIDEST = 100
#: What a terminal sends for keys such as arrows and Home: no letter or digit in it was meant.
_ESCAPE = re.compile(r"\x1b(\[[0-9;]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


def label(session: Session, scores: bool) -> None:
    """Show text after text until all are labelled or the reader quits.

    Args:
        session: whose texts.
        scores: show the scorer's toxicity too, where the file has it.

    Raises:
        UsageError: there is no terminal to show them in.
        DetoxError: a label cannot be written.
    """
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("label: it needs a terminal to show texts and read keys; --page shows them in a browser.")
    for number, (verdict, meaning) in enumerate(MEANING.items(), start=1):
        print(textwrap.fill(f"{number} {verdict}: {meaning}.", _width(), subsequent_indent="  "))
    with _keyboard() as keyboard:
        while (text := session.current) is not None:
            keyboard.forget()
            print(f"\n{'-' * _width()}\n{_shown(text, session, scores)}\n\n{_LINE}", flush=True)
            if not _answered(session, keyboard):
                return


def _answered(session: Session, keyboard: _Keyboard) -> bool:
    """Do what the next key says; False: the reader quits."""
    pressed = keyboard.read()
    if pressed in ("q", ""):
        return False
    if pressed == "u":
        print("-> taken back" if session.undo() else "There is no label of these texts to take back.")
    else:
        verdict = VERDICTS[int(pressed) - 1]
        session.label(verdict)
        print(f"-> {verdict}")
    return True


def _shown(text: Readable, session: Session, scores: bool) -> str:
    parts = [f"Text {session.done + 1:,} of {session.total:,}"]
    if scores and text.score is not None:
        parts[0] += f"   scored {text.score:.2f}"
    if text.prompt is not None:
        parts += ["", "After this prompt, which is not judged:", _wrapped(text.prompt, "  | ")]
    return "\n".join([*parts, "", _wrapped(text.text, "  ")])


def _width() -> int:
    return max(20, min(_WIDEST, shutil.get_terminal_size().columns - 1))


def _wrapped(text: str, indent: str) -> str:
    lines = [
        textwrap.fill(line, _width(), initial_indent=indent, subsequent_indent=indent, break_long_words=True) or indent
        for line in plain(text).split("\n")
    ]
    return "\n".join(lines)


class _Keyboard:
    """Keys one at a time, without Return."""

    def read(self) -> str:
        """Wait for a key that means something and return it; "" at the end of input."""
        while True:
            if sys.platform == "win32":
                read = msvcrt.getwch()
            else:
                read = os.read(sys.stdin.fileno(), 1024).decode("utf-8", "ignore")
            known = [key for key in _ESCAPE.sub("", read).lower() if key in _KEYS]
            if known or not read:
                return "".join(known[:1])

    def forget(self) -> None:
        """Forget what was typed so far: a key that was pressed twice must not label the text that comes next."""
        if sys.platform == "win32":
            while msvcrt.kbhit():
                msvcrt.getwch()
        else:
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


@contextmanager
def _keyboard() -> Iterator[_Keyboard]:
    """Yield the keyboard; the terminal is itself again afterwards."""
    if sys.platform == "win32":
        yield _Keyboard()
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)  # Ctrl-C and Ctrl-Z stay what they are
        yield _Keyboard()
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
