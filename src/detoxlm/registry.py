"""Names of methods and scorers, and where they come from: entry points of this package and of others.

A package that declares an entry point in the group `detoxlm.methods` or `detoxlm.scorers` adds a method or a scorer;
the built-in ones are declared the same way, in this project's pyproject.toml. Nothing is imported before it is asked
for. A name that is broken or claimed twice costs nobody else anything: lists say so, and using it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from detoxlm.errors import UsageError, first_line, unknown_name

T = TypeVar("T")
_OURS = "detoxlm"


class Registry(MutableMapping[str, T], Generic[T]):
    """What is known by name of one kind. What is put in by hand wins over what packages declare."""

    def __init__(self, group: str, kind: str, check: Callable[[str, object], T], order: Sequence[str] = ()) -> None:
        """Know nothing yet; the packages are looked through at the first question.

        Args:
            group: of the entry points.
            kind: what one is called in messages: `method`.
            check: returns what an entry point of this name leads to; raises ValueError with what is wrong with it.
            order: of the names that lists show first.
        """
        self._group, self._kind, self._check, self._order = group, kind, check, list(order)
        self._declared: dict[str, list[EntryPoint]] | None = None
        self._loaded: dict[str, T] = {}
        self._removed: set[str] = set()

    def _names(self) -> dict[str, list[EntryPoint]]:
        """Every declared name with those that claim it, ours first."""
        if self._declared is None:
            found: dict[str, list[EntryPoint]] = {}
            for one in sorted(entry_points(group=self._group), key=self._place):
                found.setdefault(one.name, []).append(one)
            self._declared = found
        return self._declared

    def _place(self, entry: EntryPoint) -> tuple[bool, int, str, str]:
        """Where lists show it: the built-in ones first, and in our order."""
        place = self._order.index(entry.name) if entry.name in self._order else len(self._order)
        return _package(entry) != _OURS, place, _package(entry), entry.name

    def __iter__(self) -> Iterator[str]:
        """Yield the names that can be asked for: the built-in ones in our order, then others; broken ones too."""
        yield from (name for name in dict.fromkeys([*self._names(), *self._loaded]) if name not in self._removed)

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> T:
        """Return what a name stands for, imported when first asked for.

        Raises:
            KeyError: no package and nobody here has it.
            UsageError: two packages claim it, or it cannot be imported or is none of its kind.
        """
        if name in self._removed or (name not in self._loaded and name not in self._names()):
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __setitem__(self, name: str, value: T) -> None:
        """Put something in by hand."""
        self._loaded[name] = value
        self._removed.discard(name)

    def __delitem__(self, name: str) -> None:
        """Take a name out, for this process."""
        if name not in self:
            raise KeyError(name)
        self._loaded.pop(name, None)
        self._removed.add(name)

    def get_known(self, name: str) -> T:
        """Return what a name stands for.

        Raises:
            UsageError: it stands for nothing, with the known names; else as `registry[name]`.
        """
        if name not in self:
            raise unknown_name(self._kind, name, list(self))
        return self[name]

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a name, without importing it."""
        return name not in self._removed and (name in self._loaded or name in self._names())

    def working(self) -> dict[str, T]:
        """Return all that can be used, imported now, by name."""
        return {name: self[name] for name in self if self._problem(name) is None}

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by name and in one line: what cannot be used, and what is hidden by a built-in one."""
        found = {name: problem for name in self if (problem := self._problem(name)) is not None}
        for name, claims in self._names().items():
            others = [one for one in claims if _package(one) != _OURS]
            if others and len(others) < len(claims):
                found.setdefault(name, f"the built-in {self._kind} is used; {_said(others)} claims its name too.")
        return found

    def _problem(self, name: str) -> str | None:
        try:
            self[name]
        except UsageError as error:
            return str(error).removeprefix(f"{self._kind}: {name}: ")
        return None

    def _load(self, name: str) -> T:
        claims = self._names()[name]
        if _package(claims[0]) != _OURS and len(claims) > 1:
            raise UsageError(f"{self._kind}: {name}: {_said(claims)} claim this name; uninstall all but one of them.")
        try:
            return self._check(name, claims[0].load())
        except UsageError:
            raise
        except (Exception, SystemExit) as error:  # what a module of somebody else does when imported is no closed set
            raise UsageError(
                f"{self._kind}: {name}: {_said(claims[:1])} is broken: {type(error).__name__}: {first_line(error)}. "
                "Mend or uninstall that package."
            ) from error


def _package(entry: EntryPoint) -> str:
    name = entry.dist.name if entry.dist is not None else None
    return name or "?"  # a dist-info folder without METADATA has no name


def _said(entries: list[EntryPoint]) -> str:
    return " and ".join(f"{one.value} of the package {_package(one)}" for one in entries)
