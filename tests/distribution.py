"""Which tests stay together when pytest-xdist gives them to several processes."""

from __future__ import annotations

from collections.abc import Container

from xdist.scheduler import LoadScopeScheduling


def shape_of(nodeid: str, shapes: Container[str]) -> str | None:
    """Return the architecture among a test's parameters, if there is one."""
    parameters = nodeid.partition("::")[2].partition("[")[2].removesuffix("]").split("-")
    return next((one for one in parameters if one in shapes), None)


def unit_of(nodeid: str, shapes: Container[str]) -> str:
    """Return what a test is kept together with: its file; of tests of several shapes, what is of its shape in it.

    Tests of a file share fits, which a second process would have to make again.
    """
    file, shape = nodeid.partition("::")[0], shape_of(nodeid, shapes)
    return file if shape is None else f"{file} {shape}"


class Units(LoadScopeScheduling):
    """The scheduler of those units. (The groups of `--dist loadgroup` keep nothing together under pytest 9.2.)"""

    shapes: Container[str] = ()

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid, self.shapes)
