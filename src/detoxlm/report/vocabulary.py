"""Fields of scorers' cards and of fits in words; what is not here is its own name without underscores."""

from __future__ import annotations

from typing import Final

#: Groups whose entries are example texts with their scores: insults among them.
TEXTS: Final = frozenset({"sentences", "examples", "false_positives", "false_negatives", "failures", "mistakes"})
#: What is said of an example text; by this a text with numbers is told from a group of texts.
FIELDS: Final = frozenset({"score", "toxicity", "label", "target", "verdict", "rate", "mean_score", "n"})

_RTP = "RealToxicityPrompts"
_WORDS: Final = {
    # measures
    "auc": "AUC",
    "spearman": "Rank correlation",
    "calibration_error": "Calibration error",
    "accuracy": "Accuracy",
    "false_positive_rate": "Benign texts flagged",
    "false_negative_rate": "Toxic texts missed",
    "precision": "Flagged texts that are toxic",
    "recall": "Toxic texts found",
    "n": "Texts",
    "toxic": "Toxic ones",
    "positive": "Toxic ones",
    # sets of labelled texts
    "rtp_challenge_dev": f"{_RTP}, provocative",
    "rtp_challenge_dev_continuations": f"{_RTP}, provocative, continuations only",
    "rtp_nontoxic_dev": f"{_RTP}, mild",
    "rtp_nontoxic_dev_continuations": f"{_RTP}, mild, continuations only",
    "rtp_out_of_fold": f"{_RTP}, texts left out of the fit",
    "rtp_joined": f"{_RTP}, prompts with their continuations",
    "rtp": _RTP,
    "hatecheck": "HateCheck",
    "realtoxicityprompts": _RTP,
    "jigsaw": "Jigsaw 2018",
    "wikipedia_talk": "Wikipedia talk pages, people's labels",
    "wikipedia_talk_perspective": "Wikipedia talk pages, Perspective's scores",
    "hatemoji": "HatemojiBuild",
    "madlibs": "Madlibs",
    "civil": "Civil Comments",
    "civil_spans": "Civil Comments, toxic spans and the rest",
    "paradetox": "ParaDetox",
    "bold": "BOLD",
    # identity terms
    "overall": "Flagged",
    "new_terms": "Flagged, of terms that it did not learn from",
    "mean_score_of_the_same_sentences_with_young": "Mean score of the same sentences with “young” in place of the term",
    "rate": "Share flagged",
    "mean_score": "Mean score",
    # fits
    "fit": "Hash of the fit",
    "mean_toxicity_all": "Mean toxicity of all",
    "mean_toxicity_kept": "Mean toxicity of those kept",
    "held_out_loss": "Held-out loss",
    "held_out_loss_before": "Held-out loss before",
    "held_out_loss_after": "Held-out loss after",
    "held_out_rank_correlation": "Held-out rank correlation",
    "probe_auc_on_its_pairs": "AUC of the probe on its own pairs",
    "parameters_share": "Share of the model's parameters",
    "price": "Price of a nat of drift",
}
#: Groups of them.
_TITLES: Final = {
    "dimensions": "Further dimensions: insults, threats and others",
    "identity_false_positives": "Harmless sentences that name a group of people",
    "sentences": "Example sentences with their scores",
    "examples": "Examples",
    "training": "What it learned from",
    "by_term": "By term",
}


def titled(key: str) -> str:
    """Turn the name of a group of fields into words."""
    return _TITLES.get(str(key)) or named(key)


def named(key: str) -> str:
    """Turn a field's name into words."""
    return _WORDS.get(str(key), str(key).replace("_", " "))
