"""Which rows of a plan may be done, by whose approvals, and what became of that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.report import Report

_APPROVAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@frozen
class PermittedRows:
    """The rows of one plan that may be done, by their addresses; no other is.

    `approvals` are the ids of approvals that a row uses up: it is done only if none of them was
    used before, and each is used in the transaction that begins the row. `overridden_guards` may
    pass; `guard_approvals` are used up with the first row that begins. ValueError for an id that is
    not of 1 to 100 letters, digits, `.`, `_` and `-`.
    """

    addresses: frozenset[Address] = frozenset()
    overridden_guards: frozenset[str] = frozenset()
    approvals: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    guard_approvals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(map(_APPROVAL_ID.fullmatch, self.list_approval_ids())):
            raise ValueError("an approval's id has 1 to 100 letters, digits, '.', '_' and '-'")

    def list_approval_ids(self) -> tuple[str, ...]:
        """The ids of all approvals, each once."""
        row_ids = (approval_id for ids in self.approvals.values() for approval_id in ids)
        return tuple(dict.fromkeys((*self.guard_approvals, *row_ids)))


@frozen
class PermittedApply:
    """What an apply of permitted rows did.

    The report's plan has all rows; one that was not to be done is a no-op with a note. Of the
    approvals that were given, `used_approvals` are used up by now, be it by an earlier run.
    `stop_reason` is why nothing more could begin at its end, "" where it could.
    """

    report: Report
    used_approvals: tuple[str, ...] = ()
    stop_reason: str = ""
