"""The tokenizer of tiny models, and those that put a space before every text."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token a byte: every text has tokens, and every token sequence decodes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def spaced(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space before every text, in one of the two ways of SentencePiece models."""
    words = ["▁", "▁the", "▁new", "'", "s", "▁are", ",", "n", "d", "a", "▁a", "▁and", "▁an", "\n", "<unk>"]
    inner = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=words.index("<unk>")))
    if kind == "metaspace":
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


def sentencepiece_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer of Llama 2's kind: `▁` for spaces, and a decoder that drops the first."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abehlow", "▁a", "▁b", "▁h"]
    merges = [("▁", "a"), ("▁", "b"), ("▁", "h")]
    return LlamaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)
