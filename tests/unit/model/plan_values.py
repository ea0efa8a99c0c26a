"""Hypothesis strategies for every value the codec writes, made from the declared types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from synapse_apply.model.address import Address
from synapse_apply.model.json_values import FORM_METADATA_KEY
from synapse_apply.model.values import ABSENT, KnownAfterApply, Mac, Reference, WithheldSecret

# Every code point, lone surrogates too, and keys that look like our own markers.
texts = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=6),
    st.sampled_from(["$mac", "$map", "$", "~1", "a/b", "0", "", "\ud800", "키", "\x00"]),
)
addresses = st.builds(
    Address,
    st.sampled_from(["plugin", "release", "storage"]),
    st.text(min_size=1, max_size=8),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**64, max_value=2**80),
    st.floats(allow_nan=False),
    texts,
)
markers = st.one_of(
    st.just(ABSENT),
    st.builds(Mac, texts, texts),
    st.builds(WithheldSecret, texts),
    st.builds(KnownAfterApply, addresses),
    st.builds(Reference, addresses),
)
values = st.recursive(
    scalars | markers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    Any: values,
    Address: addresses,
    str: texts,
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False) | st.integers(),
}


def _of_field(hint: Any, one: Field[Any]) -> st.SearchStrategy[Any]:
    """A strategy for a field, whose texts may have to have a form."""
    form = one.metadata.get(FORM_METADATA_KEY)
    if form is None:
        return of(hint)
    matching = st.from_regex(form.pattern, fullmatch=True)
    return st.none() | matching if NoneType in get_args(hint) else matching


def of(hint: Any, *, key: bool = False) -> st.SearchStrategy[Any]:
    """A strategy for a declared type; the path of a field has texts only, others numbers too."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(
            hint, **{one.name: _of_field(hints[one.name], one) for one in fields(hint)}
        )
    if origin is tuple:
        item = texts if key else of(args[0])
        return st.lists(item, max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(of(args[0], key=True), of(args[1]), max_size=2)
    if origin in (Union, UnionType):
        return st.one_of(*(st.none() if arg is NoneType else of(arg) for arg in args))
    raise TypeError(hint)
