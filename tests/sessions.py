"""Sessions whose parts are a test's own."""

from __future__ import annotations

from copy import copy
from typing import Any

from support.core import TargetSession


def with_parts(session: TargetSession, **parts: Any) -> TargetSession:
    """The same session with other parts; the given one stays as it is."""
    other = copy(session)
    for name, part in parts.items():
        setattr(other, name, part)
    return other
