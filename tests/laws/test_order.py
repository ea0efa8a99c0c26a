"""The plan does not depend on the order of files, documents or keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.bench import on_each_api
from laws.effort import effort
from laws.worlds import ADDRESSES, Edit, World, edits, suit, worlds

from synapse_apply import Plan
from synapse_apply.model.codec import plan_to_json

pytestmark = pytest.mark.deep
# What is of the run, not of the project.
OF_THE_RUN = {"id", "created"}
PLACES = {"position", "line", "column", "file"}


def shuffled(draw: st.DrawFn, value: Any) -> Any:
    """The same value with the keys of its maps in another order; a list keeps its own."""
    if isinstance(value, Mapping):
        keys = draw(st.permutations(list(value)))
        return {key: shuffled(draw, value[key]) for key in keys}
    return value


@st.composite
def arrangements(draw: st.DrawFn) -> tuple[World, World, list[list[str]]]:
    """A world, the same with its keys shuffled, and its documents dealt to files."""
    world = draw(worlds(least=2))
    documents = {address: shuffled(draw, doc) for address, doc in world.documents.items()}
    addresses = draw(st.permutations(list(documents)))
    cuts = sorted(draw(st.sets(st.integers(0, len(addresses)), max_size=3)))
    files = [addresses[a:b] for a, b in zip([0, *cuts], [*cuts, len(addresses)], strict=True)]
    return world, World(documents, world.packages), [file for file in files if file]


def said(plan: Plan) -> Any:
    """A plan without ids, times and places in files."""
    whole = plan_to_json(plan)
    whole["diagnostics"] = sorted(
        (one["severity"], one["summary"], one.get("address") or "") for one in whole["diagnostics"]
    )
    return _without(whole, OF_THE_RUN | PLACES)


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v, names) for k, v in value.items() if k not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


@on_each_api()
def test_the_plan_is_the_same_for_any_order(project, api, switches):
    """For a backend that has some of it already, and for one that was edited since."""

    @effort(few=2, many=40)
    @given(arrangements(), st.sets(st.sampled_from(ADDRESSES)), st.lists(edits(), max_size=2))
    def law(
        arranged: tuple[World, World, list[list[str]]], there: set[str], outside: list[Edit]
    ) -> None:
        world, other, files = arranged
        world, other = suit(world, api, switches), suit(other, api, switches)
        here = project(switches, api)
        here.found(world, sorted(there & world.documents.keys()))
        for step in ("first", "edited"):
            world.write(here.root)
            first = here.plan().plan
            other.write(here.root, files)
            assert said(here.plan().plan) == said(first), step
            if first.has_errors:
                return
            here.apply()
            for edit in outside:
                here.server.edit(edit)

    law()
