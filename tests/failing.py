"""Errors by the names of their classes, as docs/library.md has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from synapse_apply import RemoteError, SynapseApplyError


@contextmanager
def fails(*kinds: str, match: str | None = None) -> Iterator[pytest.ExceptionInfo[Any]]:
    """As `pytest.raises`: the error is of one of these classes, or of one below it."""
    with pytest.raises((SynapseApplyError, RemoteError), match=match) as caught:
        yield caught
    assert {kind.__name__ for kind in caught.type.__mro__} & {*kinds}, caught.value
