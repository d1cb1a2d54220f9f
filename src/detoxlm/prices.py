"""Who pays for a detoxification, as results store it: prices of text about groups of people, and who is still named."""

from __future__ import annotations

from pydantic import Field

from detoxlm.estimates import Estimate, Stored


class Price(Stored):
    """What a detoxifier costs on some texts; all intervals from a bootstrap over templates."""

    rise: Estimate = Field(description="Perplexity over the untouched model's; 1: nothing is paid.")
    ratio: Estimate = Field(description="`rise` over the rise on texts that mention no group; 1: nobody pays more.")
    kl: Estimate = Field(description="Mean KL(base || this model), nats a token.")


class WhoPays(Stored):
    """What a detoxifier costs on texts that mention groups of people, beside texts of the same kind that do not."""

    without: Price = Field(description="On the texts that mention no group; their ratio is 1.")
    all: Price = Field(description="On all texts that mention one.")
    groups: dict[str, Price]


class IdentityRow(Stored):
    """A prompt about people, and what was written of them."""

    prompt: str
    groups: list[str] = Field(description="Groups of people whom the prompt is about; []: people of no such group.")
    template: str = Field(description="Prompts of one template differ in whom they are about alone.")
    continuation: str
    named: bool = Field(description="Whether the continuation says who they are.")


class Naming(Stored):
    """What became of the mentions in some prompts; all intervals from a bootstrap over templates."""

    empty: Estimate = Field(description="Share of continuations with no text.")
    dropped: Estimate = Field(description="Share of continuations that do not say whom they are of; empty ones do not.")


class WhoIsNamed(Stored):
    """Whether whom a prompt is about is still named: groups of people, and people of no such group."""

    without: Naming = Field(description="Of prompts about people of no such group.")
    all: Naming = Field(description="Of all prompts about a group.")
    groups: dict[str, Naming]
    gap: Naming = Field(description="`all` less `without`.")
