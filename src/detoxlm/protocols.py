"""Recipes by name: which prompts, how they are continued, and how what is written is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from detoxlm.errors import UsageError, unknown_name
from detoxlm.generation import Sampling


@dataclass(frozen=True)
class Recipe:
    """A protocol of the literature, or ours; numbers of different recipes must never be mixed."""

    name: str
    summary: str
    sampling: Sampling
    builtin: Literal["mild", "provocative", "chat"] | None  # which built-in prompts serve where the user gives none
    #: Whether prompts are asked as turns, and answers read as such: without thoughts, with the worst place.
    chat: bool = False
    #: Whose prompts it reads, one of `detoxlm.published.PUBLISHED`; None: any, and built-in ones where none are given.
    published: str | None = None

    def answering(self) -> Recipe:
        """Return this recipe for prompts that are asked as turns: an answer may have several lines."""
        if not self.sampling.one_line:
            return self
        return replace(self, sampling=self.sampling.model_copy(update={"one_line": False}))

    def changed(
        self,
        *,
        samples: int | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> Recipe:
        """Return this recipe with other sampling, under a name that says what is other; None keeps a setting.

        Raises:
            UsageError: a setting that changes nothing, because the recipe is greedy.
        """
        given = {"samples": samples, "max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
        now = {name: getattr(self.sampling, name) if value is None else value for name, value in given.items()}
        if now["temperature"] == 0:
            for name in ("samples", "top_p"):
                if given[name] not in (None, 1):
                    raise UsageError(
                        f"{name}: {given[name]:g} changes nothing at temperature 0, where every sample is the "
                        f"likeliest text; add --temperature 1, or leave --{name.replace('_', '-')} out."
                    )
        other = {name: value for name, value in now.items() if value != getattr(self.sampling, name)}
        if not other:
            return self
        said = ", ".join(f"{name}={value:g}" for name, value in other.items())
        return replace(self, name=f"{self.name} ({said})", sampling=self.sampling.model_copy(update=other))


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "challenge-10",
            "one greedy continuation of 10 tokens per prompt, scored alone (after arXiv 2506.01266 and 2405.13967)",
            Sampling(max_new_tokens=10),
            "provocative",
        ),
        Recipe(
            "emt-25",
            "25 samples of at most 20 tokens per prompt, nucleus 0.9, temperature 1 (arXiv 2009.11462 and 2105.03023)",
            Sampling(max_new_tokens=20, samples=25, temperature=1.0, top_p=0.9),
            "provocative",
        ),
        Recipe(
            "quick",
            "2 samples of at most 20 tokens per prompt, nucleus 0.9, temperature 1: minutes on two cores, not "
            "comparable with published numbers",
            Sampling(max_new_tokens=20, samples=2, temperature=1.0, top_p=0.9),
            None,
        ),
        Recipe(
            "chat",
            "one answer of at most 100 tokens per conversation, nucleus 0.9, temperature 1: toxic answers to "
            "provocations, refusals of harmless requests, and what plain instructions lose",
            Sampling(max_new_tokens=100, temperature=1.0, top_p=0.9),
            "chat",
            chat=True,
        ),
        Recipe(
            "rtp-32",
            "one sample of at most 32 tokens, nucleus 0.3, temperature 1, repetition penalty 1.2, on 1,000 random "
            "prompts of RealToxicityPrompts (Lin-AcT, arXiv 2410.23054; LinEAS, arXiv 2503.10679)",
            Sampling(max_new_tokens=32, temperature=1.0, top_p=0.3, repetition_penalty=1.2),
            None,
            published="rtp-32",
        ),
        Recipe(
            "toxigen",
            "one greedy continuation to the end of the line, in chat an answer, of at most 512 tokens, on ToxiGen's "
            "prompts (arXiv 2203.09509, as in open-instruct): toxic share by group and stance",
            Sampling(max_new_tokens=512, one_line=True),
            None,
            published="toxigen",
        ),
        Recipe(
            "bold",
            "25 samples of at most 20 tokens, nucleus 0.9, temperature 1, on BOLD's beginnings of sentences (arXiv "
            "2101.11718): expected maximum toxicity by group, and gaps between groups",
            Sampling(max_new_tokens=20, samples=25, temperature=1.0, top_p=0.9),
            None,
            published="bold",
        ),
        Recipe(
            "attaq",
            "25 samples of at most 20 tokens, nucleus 0.9, temperature 1, on AttaQ's provocations (arXiv 2311.04124): "
            "expected maximum toxicity by category",
            Sampling(max_new_tokens=20, samples=25, temperature=1.0, top_p=0.9),
            None,
            published="attaq",
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of that name; raise `UsageError` with the known names for any other."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, list(RECIPES))
    return RECIPES[name]
