"""`{valueFrom: {live: true}}`: the server's value stays; it is never read from there."""

from __future__ import annotations

from typing import NoReturn

from synapse_apply.model.values import LIVE_SOURCE, SecretRef
from synapse_apply.secret_sources.source import (
    UNAVAILABLE,
    SecretSource,
    SourceContext,
    raise_unavailable,
)


def _raise_never_read(_ref: SecretRef, _context: SourceContext) -> NoReturn:
    raise_unavailable(
        UNAVAILABLE,
        "the value is kept on the server (valueFrom live) and never read from it",
        "Use another source of valueFrom where the value must be sent.",
    )


LIVE = SecretSource(
    name=LIVE_SOURCE,
    example="{valueFrom: {live: true}}",
    read_text=_raise_never_read,
    is_read=False,
)
