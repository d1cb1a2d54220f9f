"""Tokens of two vocabularies by what they spell: equal sizes or equal ids prove nothing."""

from __future__ import annotations

import re
from typing import Any

import torch

from detoxlm.generation import encode_all_after

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def spellings(tokenizer: Any, size: int) -> list[bytes | None]:
    """Return what each of `size` token ids adds to a text, as UTF-8 bytes; None for special and unused ids.

    Understands byte-level vocabularies (GPT-2, Llama 3, SmolLM, Qwen) and SentencePiece ones (Llama 2, Mistral, Gemma).
    """
    known = min(size, len(tokenizer))
    pieces = tokenizer.convert_ids_to_tokens(list(range(known)))
    special = set(tokenizer.all_special_ids)
    spell = _byte_level if _is_byte_level(pieces) else _sentencepiece
    found = [None if i in special or piece is None else spell(piece) for i, piece in enumerate(pieces)]
    return found + [None] * (size - known)


def _is_byte_level(pieces: list[str | None]) -> bool:
    starts = [piece[0] for piece in pieces if piece]
    return starts.count("\u0120") >= starts.count("\u2581")  # the marks that stand for a space


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_ALPHABET = _byte_alphabet()


def _byte_level(piece: str) -> bytes | None:
    try:
        return bytes(_ALPHABET[character] for character in piece)
    except KeyError:  # an added token, spelled in plain text
        return piece.encode("utf-8", "replace")


def _sentencepiece(piece: str) -> bytes | None:
    if match := _BYTE.fullmatch(piece):
        return bytes([int(match[1], 16)])
    return piece.replace("\u2581", " ").encode("utf-8", "replace")


def same_tokens(first: Any, second: Any) -> bool:
    """Say whether two tokenizers give every text the same ids."""
    if first is second:
        return True
    try:
        a, b = (tokenizer.backend_tokenizer.to_str() for tokenizer in (first, second))
    except AttributeError:  # a tokenizer without the fast backend
        return False
    # padding and truncation belong to the caller, not to the vocabulary
    return _without_padding(a) == _without_padding(b)


def _without_padding(serialised: str) -> dict[str, Any]:
    import json

    parsed: dict[str, Any] = json.loads(serialised)
    return {name: value for name, value in parsed.items() if name not in ("padding", "truncation")}


def common_tokens(first: list[bytes | None], second: list[bytes | None]) -> torch.Tensor:
    """Return the pairs [n, 2] of ids that spell the same, each spelling once, in the order of the first vocabulary."""
    there: dict[bytes, int] = {}
    for i, spelling in enumerate(second):
        if spelling:
            there.setdefault(spelling, i)
    here: dict[bytes, int] = {}
    for i, spelling in enumerate(first):
        if spelling:
            here.setdefault(spelling, i)
    pairs = [(i, there[spelling]) for spelling, i in here.items() if spelling in there]
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)


def stand_ins(target: list[bytes | None], calibrator: list[bytes | None], tokenizer: Any) -> torch.Tensor:
    """Return for each target id the calibrator's id that stands for it [V]: the same spelling, else its first piece.

    -1 where there is none: special tokens, and single bytes of characters.
    """
    exact: dict[bytes, int] = {}
    for i, spelling in enumerate(calibrator):
        if spelling:
            exact.setdefault(spelling, i)
    found = torch.full((len(target),), -1, dtype=torch.long)
    left: list[tuple[int, str]] = []
    for i, spelling in enumerate(target):
        if not spelling:
            continue
        if spelling in exact:
            found[i] = exact[spelling]
            continue
        try:
            left.append((i, spelling.decode("utf-8")))
        except UnicodeDecodeError:  # a part of a character spells nothing yet
            continue
    if left:
        encoded = encode_all_after(tokenizer, [text for _, text in left])  # tokens go on from others
        for (i, _), pieces in zip(left, encoded, strict=True):
            if pieces:
                found[i] = pieces[0]
    return found
