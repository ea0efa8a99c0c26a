"""How deeply stored values may nest: views walk them by recursion."""

from __future__ import annotations

import pytest

from synapse_apply.model import codec
from synapse_apply.model.codec import build_coder
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.json_values import (
    MAX_DEPTH,
    WrongShapeError,
    value_from_json,
    value_to_json,
)


def tower(levels, wrap):
    value = 1
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPS = [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: {"$map": {"$a": inner}}]


@pytest.mark.parametrize("wrap", WRAPS, ids=["lists", "maps", "marked maps"])
def test_a_tower_is_read_up_to_a_height(wrap):
    assert value_from_json(tower(MAX_DEPTH, wrap))
    with pytest.raises(WrongShapeError, match="nested too deeply"):
        value_from_json(tower(MAX_DEPTH + 1, wrap))


@pytest.mark.parametrize("wrap", WRAPS[:2], ids=["lists", "maps"])
def test_what_could_not_be_read_back_is_not_written(wrap):
    value = tower(MAX_DEPTH, wrap)
    assert value_from_json(value_to_json(value)) == value
    with pytest.raises(WrongShapeError, match="nested too deeply"):
        value_to_json(wrap(value))


def test_a_path_has_no_more_steps_than_a_value_levels():
    assert codec.fields_from_json({"/a" * MAX_DEPTH: 1})
    with pytest.raises(WrongShapeError, match="nested too deeply"):
        codec.fields_from_json({"/a" * (MAX_DEPTH + 1): 1})


def test_a_path_in_a_plan_has_no_more_steps_either():
    """It is a list there, and a page opens a level for each step."""
    paths = build_coder(FieldPath)
    assert paths.decode(paths.encode(("a",) * MAX_DEPTH)) == ("a",) * MAX_DEPTH
    with pytest.raises(WrongShapeError, match="nested too deeply"):
        paths.decode(["a"] * (MAX_DEPTH + 1))
    with pytest.raises(TypeError, match="nested too deeply"):
        paths.encode(("a",) * (MAX_DEPTH + 1))
