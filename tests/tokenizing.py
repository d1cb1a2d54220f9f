"""The tokenizer of tiny models, and one of another kind."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token a byte: every text has tokens, and every token sequence decodes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def sentencepiece_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer of Llama 2's kind: `▁` for spaces, and a decoder that drops the first."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abehlow", "▁a", "▁b", "▁h"]
    merges = [("▁", "a"), ("▁", "b"), ("▁", "h")]
    return LlamaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)
