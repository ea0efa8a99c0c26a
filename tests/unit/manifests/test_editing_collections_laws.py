"""Over random layouts: lists, maps and keys change as asked, or the edit is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.manifests.test_editing_laws import KEYS, SCALARS, Written, planted, texts, values

from synapse_apply.manifests.editing import Edit, edited
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import ABSENT

pytestmark = pytest.mark.deep

JSON = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3),
    max_leaves=5,
)
Path = tuple[str | int, ...]


def chosen(data: st.DataObject, part: Written) -> Path:
    """The path of a scalar, or of something around it."""
    path = data.draw(st.sampled_from(part.paths))
    return path[: data.draw(st.integers(1, len(path)))]


def asked(text: str, path: Path, value: Any, at: int) -> str | None:
    """The text after the edit; None where it is refused in words."""
    try:
        return edited(text, "m.yaml", [Edit(path, value, at, whole=True)])
    except InputError:
        return None


@given(texts(), st.data())
@effort(150, 1500)
def test_any_value_becomes_any_other(
    written: tuple[str, list[Written]], data: st.DataObject
) -> None:
    """Whatever stood there, a list, a map or a scalar takes its place and touches nothing else."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    if not parts[at].paths:
        return
    path, new = chosen(data, parts[at]), data.draw(JSON)
    made = asked(text, path, new, at)
    assert made is not None, (text, path, new)
    wanted = [planted(part.value, path, new) if n == at else part.value
              for n, part in enumerate(parts)]  # fmt: skip
    assert json.dumps(values(made)) == json.dumps(wanted)


@given(texts(), st.data())
@effort(150, 1500)
def test_a_key_goes_alone_or_not_at_all(
    written: tuple[str, list[Written]], data: st.DataObject
) -> None:
    """Its neighbours stay; where they could not, the edit is refused."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    if not parts[at].paths:
        return
    path = chosen(data, parts[at])
    if isinstance(path[-1], int):
        return
    made = asked(text, path, ABSENT, at)
    if made is None:
        return
    wanted = [json.loads(json.dumps(part.value)) for part in parts]
    inside = wanted[at]
    for step in path[:-1]:
        inside = inside[step]
    del inside[path[-1]]
    assert json.dumps(values(made)) == json.dumps(wanted)
