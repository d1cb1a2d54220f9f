"""Which directions to remove whole: a search on a budget for the least toxicity within a limit on drift.

Optuna's tree-structured Parzen estimator proposes, the model is looked at with the proposal in it, and the next
proposal knows all looks before it. Beyond the limit a proposal is worse than any within it, and the worse the further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detoxlm.errors import DetoxError, UsageError
from detoxlm.journal import Journal, digest_of
from detoxlm.progress import track

#: Proposals before the estimator is asked: the first is a fixed one, the others are drawn evenly.
FIRST_DRAWS = 8


@dataclass(frozen=True)
class Removal:
    """Of the toxic subspace of every layer from first to last, `share` of the first `rank` directions beyond `context`.

    `context` is how many directions that all texts share are left alone (`toxic_directions`).
    """

    context: int
    rank: int
    first_layer: int
    last_layer: int
    share: float


@dataclass(frozen=True)
class Space:
    """What may be chosen, (least, most) of each; a removal's layers are a range within `layers`."""

    context: tuple[int, int]
    rank: tuple[int, int]
    layers: tuple[int, int]
    share: tuple[float, float] = (0.25, 1.0)


@dataclass(frozen=True)
class Trial:
    """A removal that was tried, and what a look at the model with it saw: `toxicity`, `drift` and more."""

    removal: Removal
    look: dict[str, float]


def check_installed() -> None:
    """Raise `UsageError` where Optuna is not installed."""
    if find_spec("optuna") is None:
        raise UsageError("subspace: variant=search needs optuna, which is not installed: pip install 'detoxlm[search]'")


def search_removals(
    space: Space,
    judge: Callable[[Removal], dict[str, float]],
    *,
    limit: float,
    trials: int,
    seed: int,
    key: Any = None,
    journal: Path | None = None,
) -> list[Trial]:
    """Try so many removals, and return them in order.

    Args:
        space: what may be chosen.
        judge: looks at the model with a removal in it; its `toxicity` [0, 1] is minimised while its `drift` (nats per
            token) is within `limit`.
        limit: on the drift.
        trials: how many removals are tried.
        seed: of the proposals.
        key: JSON values that decide the looks, so that a journal of another search is not taken for this one's.
        journal: a file where trials are kept as they are made, so that a killed search goes on to the same end, and one
            under another limit or with more trials from where this one ended.

    Raises:
        UsageError: Optuna is not installed.
    """
    check_installed()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    digest = digest_of([asdict(space), seed, key, metadata.version("detoxlm")])
    kept = Journal(journal, digest) if journal is not None else None
    done = [Trial(Removal(**entry["removal"]), entry["look"]) for entry in (kept.entries if kept else [])][:trials]
    with track("searching what to remove", trials, "trials", done=len(done)) as advance:
        for number in range(len(done), trials):
            removal = _proposal(space, done, limit, seed + number) if done else _first(space)
            look = judge(removal)
            done.append(Trial(removal, look))
            if kept is not None:
                kept.append({"removal": asdict(removal), "look": look})
            advance(1)
    if kept is not None:
        kept.close()
    return done


def _proposal(space: Space, done: Iterable[Trial], limit: float, seed: int) -> Removal:
    """Ask Optuna what to try after these trials; they and the seed alone decide, so a resumed search asks the same."""
    import optuna

    whole, real = optuna.distributions.IntDistribution, optuna.distributions.FloatDistribution
    choices = {
        "context": whole(*space.context),
        "rank": whole(*space.rank),
        "first_layer": whole(*space.layers),
        "last_layer": whole(*space.layers),
        "share": real(*space.share),
    }
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST_DRAWS, multivariate=True)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    for trial in done:
        look = trial.look
        worth = look["toxicity"] if look["drift"] <= limit else 1 + look["drift"]
        given = optuna.trial.create_trial(params=asdict(trial.removal), distributions=choices, value=worth)
        study.add_trial(given)
    asked = dict(study.ask(choices).params)
    asked["first_layer"], asked["last_layer"] = sorted((asked["first_layer"], asked["last_layer"]))
    return Removal(**asked)


def best_of(trials: Iterable[Trial], limit: float) -> Trial:
    """Return the least toxic trial within the limit on drift, of equals the one with less drift.

    Raises:
        DetoxError: there is none.
    """
    trials = list(trials)
    within = [trial for trial in trials if trial.look["drift"] <= limit]
    if not within:
        raise DetoxError(
            f"subspace: none of {len(trials)} removals keeps the drift within {limit:g} nats a token (the least is "
            f"{min(trial.look['drift'] for trial in trials):.3f}); raise --set drift=… or --set trials=…."
        )
    return min(within, key=lambda trial: (trial.look["toxicity"], trial.look["drift"]))


def frontier(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that no other beats in toxicity without more drift, by drift."""
    found: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.look["drift"], trial.look["toxicity"])):
        if not found or trial.look["toxicity"] < found[-1].look["toxicity"]:
            found.append(trial)
    return found


def _first(space: Space) -> Removal:
    """A mild form of what did best by hand (docs/methods/subspace.md): four directions, from a third of the way up."""
    (low, high), (least, most) = space.layers, space.share
    wanted = {"context": 10, "rank": 4}
    near = {name: min(max(value, getattr(space, name)[0]), getattr(space, name)[1]) for name, value in wanted.items()}
    return Removal(**near, first_layer=low + (high - low + 1) // 3, last_layer=high, share=(least + most) / 2)
