"""A field that the server did not take: said once, recorded as it answered, then silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.applying.bench import Bench, told, widget

Quirk = Callable[[dict[str, Any]], Any]
SAID = "The server changed the value of a field"
QUIRKS: dict[str, tuple[dict[str, Any], Quirk]] = {
    "a text": ({"note": "a"}, lambda made: made.update(note="A")),
    "no field": ({"note": "a"}, lambda made: made.pop("note", None)),
    "a list": ({"configuration": {"x": [1]}}, lambda made: made["configuration"].update(x=[2])),
    "a key": ({"configuration": {"x": {"y": 1}}}, lambda made: made["configuration"].pop("x", 0)),
    "a map for a number": (
        {"configuration": {"x": 1}},
        lambda made: made["configuration"].update(x={"z": 1, "e": {}}),
    ),
    "a map for a list": (
        {"configuration": {"x": [1]}},
        lambda made: made["configuration"].update(x={"z": {"y": 2}}),
    ),
}


@pytest.mark.parametrize("name", QUIRKS)
def test_it_is_said_until_either_side_moves(bench: Bench, name: str) -> None:
    """Neither a plan nor the update of another field tells it again; a new value does."""
    spec, quirk = QUIRKS[name]
    bench.api.quirk = lambda _kind, made: quirk(made)
    assert SAID in told(bench.apply(widget("w", size=1, **spec)))
    assert not bench.plan(widget("w", size=1, **spec)).plan.has_changes
    assert SAID not in told(bench.apply(widget("w", size=2, **spec)))
    assert SAID not in told(bench.apply(widget("w", size=3, **spec)))
    other = {"note": "b"} if "note" in spec else {"configuration": {"x": [3]}}
    assert SAID in told(bench.apply(widget("w", size=3, **other)))
