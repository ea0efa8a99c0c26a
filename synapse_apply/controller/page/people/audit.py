"""What the audit's page shows: who did what, newest first, by filters in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synapse_apply.controller.page.addresses import build_audit_path
from synapse_apply.controller.rows import AuditRow
from synapse_apply.controller.store_ports import AuditFilter, ReadableStore
from synapse_apply.model.frozen import frozen

ROWS_PER_PAGE = 100
_MAX_FILTER_LENGTH = 200
_MAX_DIGITS = 15


@frozen
class AuditQuery:
    """What of the audit an address asks for; `before` is the number below which rows are."""

    who: str = ""
    text: str = ""
    before: int | None = None

    @classmethod
    def from_parameters_leniently(cls, parameters: Mapping[str, str]) -> AuditQuery:
        """The query of an address; what makes no sense there is as if it were left out."""
        before = parameters.get("before", "")
        is_number = before.isascii() and before.isdigit() and len(before) <= _MAX_DIGITS
        return cls(
            parameters.get("who", "").strip()[:_MAX_FILTER_LENGTH],
            parameters.get("q", "").strip()[:_MAX_FILTER_LENGTH],
            int(before) if is_number else None,
        )

    @property
    def has_filter(self) -> bool:
        return bool(self.who or self.text)

    def build_path(self, *, before: int | None = None) -> str:
        """The address of the rows below a number, or of the newest."""
        number = "" if before is None else str(before)
        return build_audit_path({"who": self.who, "q": self.text, "before": number})


@frozen
class AuditView:
    """The rows of one page, newest first, and whether older ones follow."""

    query: AuditQuery
    rows: Sequence[AuditRow]
    has_older: bool

    @property
    def path_to_older(self) -> str:
        return self.query.build_path(before=self.rows[-1].number)


def read_audit_view(store: ReadableStore, query: AuditQuery) -> AuditView:
    """Read one page of the audit."""
    rows = store.list_audit_newest_first_unless_after(
        ROWS_PER_PAGE + 1, AuditFilter(query.who, query.text, before=query.before)
    )
    return AuditView(query, rows[:ROWS_PER_PAGE], len(rows) > ROWS_PER_PAGE)
