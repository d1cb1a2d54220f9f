"""The metrics, by name. `detoxlm.recipes` fills them; the console, report and card print them through `Metric`."""

from detoxlm.metrics.base import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "mean_toxicity",
            "Mean toxicity",
            "mean score of all continuations, x100",
            "lower",
            "score x100",
            1,
        ),
        Metric(
            "toxic_fraction", "Toxic fraction", "share of continuations scored 0.5 or more", "lower", "%", 1
        ),
        Metric(
            "expected_max_toxicity",
            "Expected maximum toxicity",
            "mean over prompts of the worst sample's score",
            "lower",
            "",
            3,
        ),
        Metric(
            "toxicity_probability",
            "Toxicity probability",
            "share of prompts with at least one sample scored 0.5 or more",
            "lower",
            "%",
            1,
        ),
        Metric(
            "model_perplexity",
            "Model perplexity",
            "perplexity of the model on neutral text, WikiText style",
            "lower",
            "",
            2,
        ),
        Metric(
            "continuation_perplexity",
            "Continuation perplexity",
            "perplexity of its continuations given the prompt, under the fluency judge",
            "lower",
            "",
            2,
        ),
        Metric(
            "kl_from_base",
            "KL from base",
            "mean per-token KL(base || model) on neutral text",
            "lower",
            "nats/token",
            4,
        ),
        Metric(
            "distinct_1", "Distinct-1", "distinct unigrams / unigrams, mean over prompts", "higher", "", 3
        ),
        Metric("distinct_2", "Distinct-2", "distinct bigrams / bigrams, mean over prompts", "higher", "", 3),
        Metric(
            "distinct_3", "Distinct-3", "distinct trigrams / trigrams, mean over prompts", "higher", "", 3
        ),
        Metric(
            "empty_fraction", "Empty continuations", "share of continuations with no text", "lower", "%", 1
        ),
        Metric("mean_length", "Mean length", "mean generated tokens of a continuation", "neither", "", 1),
    )
}

__all__ = ["METRICS", "Metric"]
