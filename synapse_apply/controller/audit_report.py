"""What `controller audit` says: whether the chain of the audit holds, and who did what."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

from synapse_apply.controller.rows import AuditRow
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row
from synapse_apply.model.frozen import frozen


@frozen
class AuditSelection:
    """Which rows are shown: at most `limit`, the newest.

    `target` is a pattern (fnmatch) of SOURCE/TARGET, `who` an identity; "" matches all. A row about
    a pattern, such as a pause, is shown for each target that this matches.
    """

    target: str = ""
    who: str = ""
    limit: int = 50

    def matches(self, row: AuditRow) -> bool:
        """Whether a row is shown, but for the limit."""
        is_about_target = (
            not self.target
            or fnmatchcase(row.subject, self.target)
            or fnmatchcase(self.target, row.subject)
        )
        return is_about_target and self.who in {"", row.who}


@frozen
class AuditReport:
    """What an audit holds. `rows` are the newest that were asked for, newest first.

    `first_wrong_row` is the first that is not what the chain before it makes it, None where the
    chain holds. `newest_row` is its end, None for an empty one; `has_expected_digest` says whether
    a row has the digest that was looked for.
    """

    rows: tuple[AuditRow, ...]
    row_count: int
    newest_row: AuditRow | None
    first_wrong_row: AuditRow | None
    has_expected_digest: bool


def read_stored_audit(
    data_folder: Path, selection: AuditSelection, expected_digest: str = ""
) -> AuditReport:
    """Check the audit of a controller's store; see `check_audit_rows`."""
    with closing(SqliteControllerStore(data_folder)) as store:
        return check_audit_rows(store.iter_audit(), selection, expected_digest)


def check_audit_rows(
    rows: Iterable[AuditRow], selection: AuditSelection, expected_digest: str = ""
) -> AuditReport:
    """Check rows, oldest first, and keep those that are asked for.

    The chain alone cannot tell that its end was cut off: `expected_digest` is a digest that was
    once in it, from a log.
    """
    shown_rows: deque[AuditRow] = deque(maxlen=selection.limit)
    row_count, newest_row, has_expected_digest = 0, None, not expected_digest

    def select_counted() -> Iterator[AuditRow]:
        nonlocal row_count, newest_row, has_expected_digest
        for row in rows:
            row_count, newest_row = row_count + 1, row
            has_expected_digest = has_expected_digest or row.digest == expected_digest
            if selection.matches(row):
                shown_rows.append(row)
            yield row

    collected_rows = select_counted()
    first_wrong_row = find_first_broken_audit_row(collected_rows)
    for _ in collected_rows:  # behind a broken one, nothing more is compared
        pass
    return AuditReport(
        tuple(reversed(shown_rows)), row_count, newest_row, first_wrong_row, has_expected_digest
    )
