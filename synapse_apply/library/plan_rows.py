"""What a script that decides about single rows of a plan can know of them: pure functions."""

from __future__ import annotations

from synapse_apply.planning.narrow import (
    PermittedApply,
    PermittedRows,
    compute_guard_digest,
    has_work_without_permission,
    list_counted_addresses,
    list_decidable_changes,
    list_needed_addresses,
)
from synapse_apply.planning.rows import compute_row_digest, is_irreversible, iter_managed_objects

__all__ = [
    "PermittedApply",
    "PermittedRows",
    "compute_guard_digest",
    "compute_row_digest",
    "has_work_without_permission",
    "is_irreversible",
    "iter_managed_objects",
    "list_counted_addresses",
    "list_decidable_changes",
    "list_needed_addresses",
]
