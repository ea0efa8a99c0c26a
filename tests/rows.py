"""Asks a rule for every row of its table in one test, where a test is given nothing but its row.

As a test of its own each row is collected by seven processes, set up and reported, which takes longer than
such a rule does. All rows are tried, and each that fails is told. Whoever names one row, as in
`test_due.py::test_what_is_due[never]`, has it alone.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deep import read_named

FOLDER = Path(__file__).parent / "unit"
FEW = 3  # rows that are not worth it
NAMED = frozenset(read_named())  # whose rows are not all asked in `make test`
ALWAYS = {"cache_of_this_worker", "request"}  # fixtures that each test has

Table = list[dict[str, Any]]


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> list[pytest.Item] | None:
    """The one test of such a table; anything else is made as pytest makes it."""
    is_told = name.startswith("test_") and inspect.isfunction(obj)
    if is_told and isinstance(collector, pytest.Module) and FOLDER in collector.path.parents:
        place = f"{collector.nodeid}::{name}"
        is_alone = any(f"::{name}[" in argument for argument in collector.config.args)
        table = [] if is_alone or place.removeprefix("tests/") in NAMED else read_table(obj)
        if len(table) > FEW:
            made = pytest.Function.from_parent(collector, name=name, callobj=ask_all(obj, table))
            if set(made.fixturenames) <= ALWAYS:
                return [made]
    return None


def read_table(test: Callable[..., None]) -> Table:
    """The arguments of each call; none where a test has a mark or an argument of another sort."""
    tables: list[Table] = []
    if getattr(test, "is_hypothesis_test", False):
        return []
    for mark in getattr(test, "pytestmark", []):
        if mark.name != "parametrize" or set(mark.kwargs) - {"ids"}:
            return []
        names, rows = mark.args
        keys = [key.strip() for key in names.split(",")] if isinstance(names, str) else list(names)
        rows = list(rows)
        if any(isinstance(row, type(pytest.param())) for row in rows):
            return []
        several = [row if len(keys) > 1 else (row,) for row in rows]
        tables.append([dict(zip(keys, row, strict=True)) for row in several])
    calls: Table = [
        {key: value for row in rows for key, value in row.items()}
        for rows in itertools.product(*tables)
    ]
    return calls if calls and set(calls[0]) == set(inspect.signature(test).parameters) else []


def ask_all(test: Callable[..., None], table: Table) -> Callable[[], None]:
    """A test without arguments that makes all calls, and then tells of those that failed."""

    def ask() -> None:
        failed = []
        for row in table:
            try:
                test(**row)
            except Exception as error:  # noqa: BLE001 - all that fail are told together
                error.add_note(f"The row is {row!r}.")
                failed.append(error)
        if failed:
            raise failed[0] if len(failed) == 1 else ExceptionGroup(test.__name__, failed)

    ask.__name__, ask.__doc__, ask.__module__ = test.__name__, test.__doc__, test.__module__
    return ask
