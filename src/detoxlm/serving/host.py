"""The host: a target that reads rows, on each of which a detoxifier of its own may act, at its own strength."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from detoxlm.caching import cached_as, keeps_states
from detoxlm.errors import UsageError
from detoxlm.methods.decoding.contract import Place, Steering
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.methods.decoding.session import Session
from detoxlm.models import Target
from detoxlm.passes import Prefill, extend
from detoxlm.serving.rows import Row


class Host:
    """Runs a target over rows. All calls are in one thread; while it is open its hooks are on the model."""

    def __init__(self, target: Target, detoxifiers: Mapping[str, DecodingDetoxifier]) -> None:
        """Take the target and the detoxifiers that rows may name.

        Raises:
            UsageError: one is of another model, or cannot be served, by name; or the target cannot.
        """
        _check_rows(target)
        self.target = target
        self._steerings = {name: _servable(one, target) for name, one in detoxifiers.items()}
        self.clear()
        #: The rows of the pass that is being made, and whether its last position is drawn from.
        self._now: Sequence[Row] = ()
        self._last = True
        self._states = torch.empty(0)
        self._handles = self._hooked()

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    # --- rows -------------------------------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        """Begin a row and let its detoxifier read the prompt."""
        if row.steered:
            session = self._session(row)
            session.add(row, row.job.strength)
            session.read({row: row.job.ids})

    def fork(self, row: Row, copies: Sequence[Row]) -> None:
        """Let more rows be what `row` is."""
        for copy in copies:
            copy.acted, copy.plain = row.acted, row.plain
        if row.steered and copies:
            session = self._session(row)
            session.arrange({**{other: other for other in session.rows}, **dict.fromkeys(copies, row)})

    def drop(self, rows: Sequence[Row]) -> None:
        """Forget rows, also those that were never added."""
        for session in self._sessions.values():
            if gone := {row for row in rows if row in session}:
                session.arrange({row: row for row in session.rows if row not in gone})

    def clear(self) -> None:
        """Forget all rows, whatever state an error has left them in."""
        self._sessions = {name: Session(steering) for name, steering in self._steerings.items()}

    def _session(self, row: Row) -> Session:
        assert row.job.detoxifier is not None
        return self._sessions[row.job.detoxifier]

    def reads_plainly(self, row: Row) -> bool:
        """Whether the target's keys and values of the row's text are those of the untouched model."""
        return not row.steered or not isinstance(self._steerings[row.job.detoxifier or ""].place, int)

    # --- passes -----------------------------------------------------------------------------------------------------

    def empty(self) -> Prefill:
        """Return the state of a row that nothing was read of."""
        # without the model's configuration: layers with a sliding window then keep all columns too, and the model's
        # mask hides those that the window has left behind. Rows can be put side by side only so.
        nothing = torch.zeros(1, 0, dtype=torch.long, device=self.target.device)
        return Prefill(torch.empty(0), DynamicCache(), nothing, nothing)

    @torch.inference_mode()
    def read(self, row: Row, state: Prefill, tokens: Sequence[int], *, last: bool) -> Prefill:
        """Read some of one row's prompt; at its last tokens the detoxifier acts on what comes after them."""
        return self._pass([row], state, torch.tensor([list(tokens)], device=self.target.device), last)

    @torch.inference_mode()
    def extend(self, rows: Sequence[Row], state: Prefill, tokens: Sequence[int]) -> Prefill:
        """Read one token of each row; `state` has the rows in this order."""
        for name, session in self._sessions.items():
            new: dict[Hashable, list[int]] = {
                row: [token] for row, token in zip(rows, tokens, strict=True) if _is_of(row, name)
            }
            if new and self._steerings[name].readers:
                session.read(new)
        return self._pass(rows, state, torch.tensor(tokens, device=self.target.device)[:, None], True)

    def _pass(self, rows: Sequence[Row], state: Prefill, tokens: torch.Tensor, last: bool) -> Prefill:
        for row in rows:
            row.acted, row.plain = False, None
        self._now, self._last = rows, last
        try:
            made = extend(self.target.model, state, tokens)
        finally:
            self._now = ()
        made.logits = made.logits.float()
        if last:
            for name, chosen in self._acting("logits", rows):
                states = self._states[chosen] if self._steerings[name].reads_target else None
                _keep_plain(rows, chosen, made.logits.__getitem__)
                self._act(name, [rows[i] for i in chosen], made.logits, chosen, states)
        self._states = torch.empty(0)
        return made

    def _acting(self, place: Place, rows: Sequence[Row]) -> Iterator[tuple[str, list[int]]]:
        """Yield each detoxifier that acts there, with the numbers of its rows."""
        for name, steering in self._steerings.items():
            if steering.place == place and (chosen := [i for i, row in enumerate(rows) if _is_of(row, name)]):
                yield name, chosen

    def _act(
        self, name: str, rows: Sequence[Row], x: torch.Tensor, chosen: list[int], states: torch.Tensor | None
    ) -> None:
        """Change the rows `chosen` of x [B, V] or [B, d] in place."""
        x[chosen] = self._sessions[name].act(rows, x[chosen], states=states).to(x.dtype)
        for row in rows:
            row.acted = True

    # --- inside the model -------------------------------------------------------------------------------------------

    def _hooked(self) -> list[Any]:
        view, handles = self.target.architecture, []
        steerings = self._steerings.values()
        if any(steering.place == "states" or steering.reads_target for steering in steerings):
            handles.append(view.decoder.register_forward_hook(self._at_states))
        for layer in {steering.place for steering in steerings if isinstance(steering.place, int)}:
            handles.append(view.layers[layer].register_forward_hook(self._at_layer(layer)))
        return handles

    def _at_states(self, _: nn.Module, __: Any, output: Any) -> None:
        """Act on the final states, or keep them for what reads them."""
        if not self._now or not self._last:
            return
        last = output[0][:, -1]
        self._states = last
        view = self.target.architecture
        for name, chosen in self._acting("states", self._now):
            _keep_plain(self._now, chosen, lambda i: view.capped(view.head(last[i])))
            self._act(name, [self._now[i] for i in chosen], last, chosen, None)

    def _at_layer(self, layer: int) -> Callable[..., None]:
        """Return what acts on a layer's output at every position: later layers read all of them."""

        def act(_: nn.Module, __: Any, output: Any) -> None:
            x = output if isinstance(output, torch.Tensor) else output[0]
            for name, chosen in self._acting(layer, self._now):
                for i in chosen:
                    x[i] = self._sessions[name].act([self._now[i]] * x.shape[1], x[i].clone()).to(x.dtype)
                    self._now[i].acted = True

        return act


def _keep_plain(rows: Sequence[Row], chosen: Sequence[int], plain: Callable[[int], torch.Tensor]) -> None:
    """Keep what the untouched model says of the rows that ask for it, before it is changed."""
    for i in chosen:
        if rows[i].job.explain:
            rows[i].plain = plain(i).clone()


def _is_of(row: Row, name: str) -> bool:
    return row.steered and row.job.detoxifier == name


def _check_rows(target: Target) -> None:
    """Raise `UsageError` where rows that join and leave cannot be put side by side in the target's cache."""
    if cached_as(target.model) is None or keeps_states(target.model.config.get_text_config(decoder=True)):
        raise UsageError(
            f"model: this {target.architecture.name} model does not keep what it has read as keys and values alone, so "
            "requests that join and leave cannot share its passes; use `detoxlm generate --file`."
        )


def _servable(detoxifier: DecodingDetoxifier, target: Target) -> Steering:
    """Return what a detoxifier does to a target.

    Raises:
        UsageError: it is of another model, or does what this host cannot, by name.
    """
    steering = detoxifier.steering(target.model)
    if not steering.keeps_past:
        raise UsageError(
            f"detoxifier: {detoxifier.method} as released shows its reader each batch's newest tokens alone, which "
            "cannot be served in batches that change; fit it without as_released."
        )
    if isinstance(steering.place, int) and steering.readers:
        raise UsageError(f"detoxifier: {detoxifier.method} reads beside a layer that it acts on; use attached().")
    return steering
