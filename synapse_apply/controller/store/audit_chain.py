"""The digests that make the audit a chain: whoever changes a row changes all that follow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.controller.rows import AuditRow
from synapse_apply.model.coding.canonical_json import format_canonical_json


def add_audit_digest(row: AuditRow, previous_digest: str) -> AuditRow:
    """The row with its digest: over the row and the digest of the one before, "" for the first."""
    content = [
        previous_digest,
        row.number,
        float(row.time),
        row.who,
        row.action,
        row.subject,
        row.detail,
    ]
    digest = hashlib.sha256(format_canonical_json(content).encode()).hexdigest()
    return replace(row, digest=digest)


def find_first_broken_audit_row(
    rows: Iterable[AuditRow], trusted_row_before: AuditRow | None = None
) -> AuditRow | None:
    """The first row, oldest first, that is not what the chain before it makes it; None for none.

    `trusted_row_before` is the row before the first one, taken as it is; None: they are all.
    """
    previous_digest = trusted_row_before.digest if trusted_row_before else ""
    expected_number = trusted_row_before.number + 1 if trusted_row_before else 1
    for row in rows:
        if row.number != expected_number or add_audit_digest(row, previous_digest) != row:
            return row
        previous_digest, expected_number = row.digest, row.number + 1
    return None
