"""What one transaction writes, and what it never lets happen: an older head or wanted revision.

Statements whose outcome nobody asks for are queued: a server gets many of them at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from synapse_apply.controller.rows import (
    LEADER_LEASE,
    ApplyLog,
    ApprovalRow,
    AuditRow,
    HoldRow,
    LeaseRow,
    MessageRow,
    OwnerRow,
    PauseRow,
    RevisionRow,
    SessionRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.store.row_table import RowTable, SqlDialect
from synapse_apply.controller.store.store_database import StoreConnection
from synapse_apply.controller.store.store_schema import (
    APPROVALS,
    AUDIT,
    HOLDS,
    LEASES,
    MESSAGES,
    META_APPLY,
    META_CONFIGURATION_FINDINGS,
    META_CONTROLLER,
    META_LABELS,
    OWNERS,
    PAUSES,
    PROCESSES,
    REVISIONS,
    ROLLOUT_TARGETS,
    ROLLOUTS,
    RUNS,
    SESSIONS,
    SOURCES,
    STATUSES,
    TARGETS,
    WAVES,
)
from synapse_apply.model.codec import build_coder
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_values import format_canonical_json

# A head is moved by accept_head alone, a count by what counts.
_FIXED_SOURCE_COLUMNS = ("head", "head_number", "change_number", "asked_number", "accepted")
# Of the same revision another version of this program makes another digest.
_IS_NOT_OLDER = "excluded.wanted_number >= targets.wanted_number"
# Claims are moved by claim and release_claim alone, and a
# wanted revision only forwards.
_KEPT_OF_TARGETS = {
    **{name: f"targets.{name}" for name in ("holder", "lease_until", "epoch")},
    **{
        name: f"CASE WHEN {_IS_NOT_OLDER} THEN excluded.{name} ELSE targets.{name} END"
        for name in ("wanted_commit", "wanted_digest")
    },
    **{
        name: f"CASE WHEN excluded.{name} > targets.{name} THEN excluded.{name}"
        f" ELSE targets.{name} END"
        for name in ("wanted_number", "touched_number", "looked_number")
    },
}
_NEXT_EPOCH = "leases.epoch + (CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END)"
_TABLES: tuple[RowTable[Any], ...] = (
    *(SOURCES, REVISIONS, TARGETS, RUNS, STATUSES, MESSAGES, APPROVALS, PAUSES),
    *(ROLLOUTS, WAVES, ROLLOUT_TARGETS, PROCESSES, OWNERS, SESSIONS),
)
_KEPT = {
    SOURCES.name: {name: f"sources.{name}" for name in _FIXED_SOURCE_COLUMNS},
    TARGETS.name: _KEPT_OF_TARGETS,
}
_PUT = {
    table.row_type: (table, table.build_upsert_statement(_KEPT.get(table.name)))
    for table in _TABLES
}
_MOST_SESSIONS = 20
_TAKE_LEASE = (
    f"{LEASES.build_upsert_statement({'epoch': _NEXT_EPOCH})}"
    " WHERE leases.holder IN ('', excluded.holder) OR leases.until <= ?"
)


class StoreWriter:
    """What one transaction can write, on its connection. Rows replace those with the same key."""

    def __init__(self, connection: StoreConnection, dialect: SqlDialect) -> None:
        self._connection = connection
        self._dialect = dialect

    def put(self, *rows: object) -> None:
        """Write rows, each in the place of the one that has its key.

        Of a source that is there the head and the counters stay: `accept_head` alone moves the
        head. Of a target the claim stays, and its wanted revision is never moved to a smaller
        number.
        """
        for row in rows:
            table, statement = _PUT[type(row)]
            self._connection.execute_write(statement, table.encode_row(row))

    def accept_head(self, source: str, old_number: int, revision: RevisionRow) -> bool:
        """Make a revision the head if the head's number is still `old_number`; whether it was.

        ValueError unless `revision.number` is `old_number + 1`.
        """
        if (revision.source, revision.number) != (source, old_number + 1):
            raise ValueError(f"revision {revision.number} cannot follow head {old_number}")
        cursor = self._connection.execute(
            "UPDATE sources SET head = ?, head_number = ?, accepted = ''"
            " WHERE name = ? AND head_number = ?",
            [revision.commit, revision.number, source, old_number],
        )
        if cursor.rowcount != 1:
            return False
        self.put(revision)
        return True

    def list_due(self, now: float, limit: int) -> Sequence[TargetRow]:
        """Targets that are due and not claimed, sources in turn.

        Of each source those that a push touched or somebody asked for first, then the longest due.
        A target that the head no longer declares is never due, nor is a new one that waits for its
        wave of a rollout: no revision is wanted of it yet.
        """
        statement = TARGETS.build_select_statement(
            "WHERE is_gone = 0 AND source = ? AND is_urgent = ? AND due_at <= ?"
            " AND (wanted_commit <> '' OR head_digest = '')"
            " AND (holder = '' OR lease_until <= ?) ORDER BY due_at LIMIT ?"
        )
        names = self._connection.execute(
            "SELECT name FROM sources WHERE is_removed = 0 ORDER BY name"
        ).fetchall()
        by_source = [
            [
                TARGETS.decode_row(cells)
                for is_urgent in (1, 0)
                for cells in self._connection.execute(statement, [name, is_urgent, now, now, limit])
            ]
            for (name,) in names
        ]
        turns = chain.from_iterable(zip_longest(*by_source))
        return [row for row in turns if row is not None][:limit]

    def list_due_after(self, when: float) -> Sequence[TargetRow]:
        """Targets that are due later than a time."""
        statement = TARGETS.build_select_statement("WHERE is_gone = 0 AND due_at > ?")
        return [TARGETS.decode_row(cells) for cells in self._connection.execute(statement, [when])]

    def shift_leases(self, seconds: float) -> None:
        """Move the ends of all leases, after a jump of the wall clock."""
        self._connection.execute_write("UPDATE leases SET until = until + ?", [seconds])

    def shift_times(self, seconds: float) -> None:
        """Move all due times and claims of the store, after a jump of the wall clock."""
        for statement in (
            "UPDATE targets SET due_at = due_at + ?, lease_until = lease_until + ?",
            "UPDATE sources SET due_at = due_at + ?, sideways_since = sideways_since + ?",
            "UPDATE statuses SET try_at = try_at + ? WHERE sent <> wished",
            "UPDATE messages SET try_at = try_at + ? WHERE sent_at = 0",
        ):
            self._connection.execute_write(statement, [seconds] * statement.count("?"))

    def hasten_sends(self, now: float, longest: float) -> None:
        """Have statuses and messages due at once that are due later than `longest` from `now`."""
        for statement in (
            "UPDATE statuses SET try_at = ? WHERE try_at > ?",
            "UPDATE messages SET try_at = ? WHERE sent_at = 0 AND try_at > ?",
        ):
            self._connection.execute_write(statement, [now, now + longest])

    def claim(self, name: TargetName, holder: str, until: float, now: float) -> int:
        """Claim a target that nobody holds at `now`; the new epoch, 0 where somebody holds it."""
        cursor = self._connection.execute(
            "UPDATE targets SET holder = ?, lease_until = ?, epoch = epoch + 1"
            " WHERE source = ? AND target = ? AND (holder = '' OR lease_until <= ?)",
            [holder, until, *name, now],
        )
        if not cursor.rowcount:
            return 0
        statement = "SELECT epoch FROM targets WHERE source = ? AND target = ?"
        return int(self._connection.execute(statement, name).fetchone()[0])

    def is_claim_own(self, name: TargetName, holder: str, epoch: int) -> bool:
        statement = (
            "SELECT 1 FROM targets WHERE source = ? AND target = ? AND holder = ? AND epoch = ?"
        )
        return self._connection.execute(statement, [*name, holder, epoch]).fetchone() is not None

    def release_claim(self, name: TargetName, holder: str, epoch: int) -> None:
        """End a claim; without effect where it is another's by now."""
        self._connection.execute_write(
            "UPDATE targets SET holder = '', lease_until = 0 WHERE source = ? AND target = ?"
            " AND holder = ? AND epoch = ?",
            [*name, holder, epoch],
        )

    def release_claims(self, holder: str = "") -> None:
        """End every claim of one holder; of all only for who has the store alone, and no worker."""
        is_own = " AND holder = ?" if holder else ""
        self._connection.execute_write(
            f"UPDATE targets SET holder = '', lease_until = 0 WHERE holder <> ''{is_own}",  # noqa: S608 - our own words
            [holder] if holder else [],
        )

    def extend_claims(
        self, holder: str, until: float, leader_epoch: int, names: Collection[TargetName]
    ) -> None:
        """See ControllerStore: rows that another transaction has are left for the next time."""
        self._connection.execute_write(
            "UPDATE leases SET until = ? WHERE name = ? AND holder = ? AND epoch = ? AND until < ?",
            [until, LEADER_LEASE, holder, leader_epoch, until],
        )
        own_claims = (
            "SELECT source, target FROM targets WHERE holder <> '' AND holder = ?"  # noqa: S608 - our own words
            f" AND lease_until < ? AND source || '/' || target IN ({self._dialect.text_list})"
            f" {self._dialect.skip_locked_rows}"
        )
        self._connection.execute_write(
            f"UPDATE targets SET lease_until = ? WHERE (source, target) IN ({own_claims})",  # noqa: S608 - our own words
            [until, holder, until, json.dumps([str(name) for name in names])],
        )

    def take_lease(self, name: str, holder: str, until: float, now: float) -> int:
        """Take a lease that nobody else has at `now`, or renew it; its epoch, 0 where another has.

        A lease that is the holder's keeps its epoch, also where it was over; else the epoch grows.
        """
        row = LeaseRow(name, holder, until, epoch=1)
        cursor = self._connection.execute(_TAKE_LEASE, [*LEASES.encode_row(row), now])
        if not cursor.rowcount:
            return 0
        statement = "SELECT epoch FROM leases WHERE name = ?"
        (epoch,) = self._connection.execute(statement, [name]).fetchone()
        return int(epoch)

    def is_lease_own(self, name: str, holder: str, epoch: int) -> bool:
        """Whether nobody has taken a lease since, be it over or not.

        Nobody takes it before the end of this transaction.
        """
        statement = "SELECT 1 FROM leases WHERE name = ? AND holder = ? AND epoch = ?"
        return self._connection.execute(statement, [name, holder, epoch]).fetchone() is not None

    def release_lease(self, name: str, holder: str, epoch: int) -> None:
        """End a lease; without effect where it is another's by now."""
        self._connection.execute_write(
            "UPDATE leases SET holder = '', until = 0 WHERE name = ? AND holder = ? AND epoch = ?",
            [name, holder, epoch],
        )

    def delete_owners(self, rows: Iterable[OwnerRow]) -> None:
        """Forget that targets manage these objects."""
        for row in rows:
            self._connection.execute_write(
                "DELETE FROM owners WHERE url = ? AND thing = ? AND source = ? AND target = ?",
                [row.url, row.thing, *row.name],
            )

    def delete_processes(self, holder: str = "", seen_before: float = 0.0) -> None:
        """Delete a process, and those that were last seen before a time."""
        self._connection.execute_write(
            "DELETE FROM processes WHERE holder = ? OR seen_at < ?", [holder, seen_before]
        )

    def count_change(self, name: str) -> None:
        """Count a change that may end a revision in `change_number`."""
        self._connection.execute_write(
            "UPDATE sources SET change_number = change_number + 1 WHERE name = ?", [name]
        )

    def request_fetch_at_once(self, source: str) -> None:
        """Have a source fetched at once, by `asked_number`; without effect on an unknown one."""
        self._connection.execute_write(
            "UPDATE sources SET asked_number = asked_number + 1 WHERE name = ?", [source]
        )

    def accept_push(self, source: str, commit: str) -> None:
        """Let a commit become the head of a source at the next fetch, whatever it contains."""
        self._connection.execute_write(
            "UPDATE sources SET accepted = ? WHERE name = ?", [commit, source]
        )
        self.request_fetch_at_once(source)

    def count_repeated_look(self, run_id: str, when: float) -> None:
        """Count one more look that found what a run found."""
        self._connection.execute_write(
            "UPDATE runs SET repeats = repeats + 1, last_seen_at = ? WHERE id = ?", [when, run_id]
        )

    def empty_documents(self, run_id: str) -> None:
        """Forget the plan and the report of a run; the rest of it is kept."""
        self._connection.execute_write(
            "UPDATE runs SET plan_json = '', report_json = '' WHERE id = ?", [run_id]
        )

    def mark_source_removed(self, name: str) -> None:
        """Mark a source that the configuration no longer has, and its targets as gone."""
        for statement in (
            "UPDATE sources SET is_removed = 1, keyed_number = 0 WHERE name = ?",
            "UPDATE targets SET is_gone = 1 WHERE source = ?",
        ):
            self._connection.execute_write(statement, [name])

    def replace_holds(self, name: TargetName, rows: Sequence[HoldRow]) -> None:
        """Have these rows of a target wait, and no others, in this order."""
        self._connection.execute_write("DELETE FROM holds WHERE source = ? AND target = ?", name)
        for row in rows:
            self._connection.execute_write(HOLDS.build_insert_statement(), HOLDS.encode_row(row))

    def put_approval(self, row: ApprovalRow) -> None:
        self.put(row)

    def delete_unused_approvals_of_row(self, name: TargetName, row_digest: str) -> None:
        """Take back the unused approvals of a row."""
        self._connection.execute_write(
            "DELETE FROM approvals WHERE source = ? AND target = ? AND row_digest = ?"
            " AND used_at = 0",
            [*name, row_digest],
        )

    def delete_approval(self, approval_id: str) -> None:
        self._connection.execute_write("DELETE FROM approvals WHERE id = ?", [approval_id])

    def mark_approvals_used(self, ids: Sequence[str], run_id: str, when: float) -> None:
        """Say that an apply used these approvals up; without effect on those that are used."""
        for approval_id in ids:
            self._connection.execute_write(
                "UPDATE approvals SET used_at = ?, used_by_run = ? WHERE id = ? AND used_at = 0",
                [when, run_id, approval_id],
            )

    def date_back_approvals(self, now: float) -> None:
        """Have unused approvals be given now that a clock gave which was ahead."""
        self._connection.execute_write(
            "UPDATE approvals SET approved_at = ? WHERE approved_at > ? AND used_at = 0", [now, now]
        )

    def delete_old_approvals(self, when: float) -> None:
        """Delete approvals that were given, and pauses that ended, before a time."""
        self._connection.execute_write("DELETE FROM approvals WHERE approved_at < ?", [when])
        self._connection.execute_write("DELETE FROM pauses WHERE until < ?", [when])
        self._connection.execute_write("DELETE FROM sessions WHERE until < ?", [when])

    def put_pause(self, row: PauseRow) -> None:
        """Write a pause; one of the same scope is replaced."""
        self.put(row)

    def delete_pause(self, scope: str) -> None:
        self._connection.execute_write("DELETE FROM pauses WHERE scope = ?", [scope])

    def put_session(self, row: SessionRow) -> None:
        """Write a session of the page; of a token only the newest are kept."""
        self.put(row)
        self._connection.execute_write(
            "DELETE FROM sessions WHERE token_name = ? AND digest NOT IN (SELECT digest FROM"
            " sessions WHERE token_name = ? ORDER BY until DESC LIMIT ?)",
            [row.token_name, row.token_name, _MOST_SESSIONS],
        )

    def delete_session(self, digest: str) -> None:
        self._connection.execute_write("DELETE FROM sessions WHERE digest = ?", [digest])

    def delete_rollout(self, name: str) -> None:
        """Forget a rollout, what was said of its waves, and what its targets have shown."""
        for statement in (
            "DELETE FROM rollouts WHERE name = ?",
            "DELETE FROM waves WHERE rollout = ?",
            "DELETE FROM rollout_targets WHERE rollout = ?",
        ):
            self._connection.execute_write(statement, [name])

    def delete_from_rollouts(self, names: Sequence[TargetName]) -> None:
        """Have these targets be in no rollout."""
        for name in names:
            self._connection.execute_write(
                "DELETE FROM rollout_targets WHERE source = ? AND target = ?", name
            )

    def put_message_if_new(self, row: MessageRow) -> bool:
        """Write a message unless one of the same channel, event and fact is there; whether so."""
        cursor = self._connection.execute(
            f"{MESSAGES.build_insert_statement()} ON CONFLICT (channel, event, fact) DO NOTHING",
            MESSAGES.encode_row(row),
        )
        return bool(cursor.rowcount == 1)

    def append_audit(self, time: float, who: str, action: str, subject: str, detail: str) -> None:
        newest = self._connection.execute(
            "SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1"
        ).fetchone()
        number, digest = newest or (0, "")
        texts = [make_storable(text) for text in (who, action, subject, detail)]
        row = add_audit_digest(AuditRow(number + 1, time, *texts), digest)
        self._connection.execute_write(AUDIT.build_insert_statement(), AUDIT.encode_row(row))

    def claim_store(self, controller: str) -> str:
        """Write down whose store this is unless that stands there; the name that does then."""
        self._connection.execute_write(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
            [META_CONTROLLER, controller],
        )
        statement = "SELECT value FROM meta WHERE key = ?"
        (name,) = self._connection.execute(statement, [META_CONTROLLER]).fetchone()
        return str(name)

    def replace_configuration_findings(self, findings: Sequence[Diagnostic]) -> None:
        """Replace what `list_configuration_findings` gives."""
        text = format_canonical_json(build_coder(tuple[Diagnostic, ...]).encode(tuple(findings)))
        self._replace_meta(META_CONFIGURATION_FINDINGS, text)

    def replace_labels(self, source: str, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Replace what `list_labels` gives of a source: the labels of each of its targets."""
        text = format_canonical_json({name: dict(of_target) for name, of_target in labels.items()})
        self._replace_meta(f"{META_LABELS}{source}", text)

    def replace_apply_log(self, name: TargetName, log: ApplyLog) -> None:
        """Replace what `find_apply_log` gives of a target."""
        text = format_canonical_json(build_coder(ApplyLog).encode(log))
        self._replace_meta(f"{META_APPLY}{name}", text)

    def delete_apply_log(self, name: TargetName) -> None:
        self._connection.execute_write("DELETE FROM meta WHERE key = ?", [f"{META_APPLY}{name}"])

    def _replace_meta(self, key: str, text: str) -> None:
        self._connection.execute_write(
            "INSERT INTO meta (key, value) VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, text],
        )

    def delete_old_runs(self, when: float) -> int:
        """Delete old runs, but for the newest of each target; how many."""
        cursor = self._connection.execute(
            "DELETE FROM runs WHERE ended_at < ? AND last_seen_at < ?"
            " AND id NOT IN (SELECT MAX(id) FROM runs GROUP BY source, target)",
            [when, when],
        )
        return int(cursor.rowcount)

    def delete_old_messages(self, when: float) -> None:
        """Delete old messages that were sent or refused, and old revisions with their statuses.

        The head of a source stays, however old it is, and the newest that could be used: it is
        what may follow a head that no target may have.
        """
        self._connection.execute_write(
            "DELETE FROM messages WHERE created_at < ? AND (sent_at > 0 OR refusal <> '')", [when]
        )
        old = (
            "FROM revisions WHERE seen_at < ?"
            " AND number < (SELECT head_number FROM sources WHERE name = revisions.source)"
            " AND number <> COALESCE((SELECT u.number FROM revisions u JOIN sources s"
            " ON s.name = u.source WHERE u.source = revisions.source AND u.finding = 'null'"
            " AND u.number <= s.keyed_number ORDER BY u.number DESC LIMIT 1), 0)"
        )
        self._connection.execute_write(
            f'DELETE FROM statuses WHERE (source, "commit") IN (SELECT source, "commit" {old})',  # noqa: S608 - our own words
            [when],
        )
        self._connection.execute_write(f"DELETE {old}", [when])


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
        try:
            is_chained = add_audit_digest(row, previous_digest) == row
        except (ValueError, ArithmeticError):  # no JSON has such a time
            is_chained = False
        if row.number != expected_number or not is_chained:
            return row
        previous_digest, expected_number = row.digest, row.number + 1
    return None


_NUL_SIGN = "\N{SYMBOL FOR NULL}"


def make_storable(text: str) -> str:
    """A text without NUL, which PostgreSQL cannot hold, and without surrogates, which none can.

    Others are given back as they are.
    """
    if text.isprintable():
        return text
    return text.replace("\0", _NUL_SIGN).encode("utf-8", "replace").decode()
