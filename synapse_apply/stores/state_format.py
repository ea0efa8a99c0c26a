"""Which format of a state is read: the known one; that of a newer version is refused.

The number is in table `meta`; a file's header has that of its tables. What holds a state has
a format of its own: a link of a chain (`chain/link_format.py`), a commit (`git/state_commit.py`).
"""

from __future__ import annotations

from synapse_apply.model.state import STATE_FORMAT
from synapse_apply.stores.state_messages import build_newer_format_error


def require_format_not_newer(format_number: int, location: str) -> None:
    """StateError for a format that only a newer version knows. `location` is for the message."""
    # There was no format before the first, so a smaller number cannot be: only a newer one is.
    if format_number > STATE_FORMAT:
        raise build_newer_format_error(location, format_number)
