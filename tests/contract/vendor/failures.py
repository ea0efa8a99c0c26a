"""Calls that must fail, and what they fail with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synapse_apply import ClientError

PLUGIN = {"name": "Yolo", "code": "yolo", "category": "neural_net"}


def error_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> ClientError:
    """The error of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **options)
    return caught.value
