"""When a snapshot replaces links, and what is deleted then; a refusal is no error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from synapse_apply.model.errors import StateError
from synapse_apply.stores import state_messages
from synapse_apply.stores.batch_log import TableRows
from synapse_apply.stores.chain.chain_reader import ChainReader
from synapse_apply.stores.chain.chain_rules import select_links_to_prune, unnamed_audit_objects
from synapse_apply.stores.chain.chain_view import (
    ChainView,
    build_audit_name,
    build_link_name,
    build_snapshot_name,
    folder_prefix_of,
    parse_object_number,
)
from synapse_apply.stores.chain.link_format import (
    AuditObject,
    Snapshot,
    WrongContent,
    decode_audit_rows,
    encode_audit_rows,
    encode_snapshot,
)
from synapse_apply.stores.chain.object_folder import ObjectFolder, ObjectInfo
from synapse_apply.stores.chain.signer import Signer
from synapse_apply.stores.database import Row

# The newest rows of the audit table stay in the snapshot, so that most readers need no others.
_AUDIT_ROWS_IN_SNAPSHOT = 20
# After a snapshot could not be written, so many links go by before it is tried again.
_LINKS_BETWEEN_ATTEMPTS = 20


class ChainCompactor:
    """Writes snapshots and audit objects of one chain, and prunes links and old snapshots."""

    def __init__(
        self, folder: ObjectFolder, signer: Signer, reader: ChainReader, prune_age_seconds: float
    ) -> None:
        self._folder = folder
        self._signer = signer
        self._reader = reader
        self._prune_age_seconds = prune_age_seconds
        self._next_attempt_at = 0

    def compact_unless_refused(
        self, view: ChainView, read_tables: Callable[[], TableRows]
    ) -> ChainView:
        """Write a snapshot as of a view and prune; returns the view of who begins there.

        The view is returned as it is if the store refuses the snapshot.
        """
        # After a refusal not at every write: a store that forbids it would forbid it each time.
        if view.number < self._next_attempt_at:
            return view
        try:
            view = self._write_snapshot(view, read_tables())
            self._prune(view)
        except (StateError, WrongContent):
            # A snapshot only saves reading, so that a write never fails because of it.
            self._next_attempt_at = view.number + _LINKS_BETWEEN_ATTEMPTS
        return view

    def read_audit_rows(self, view: ChainView) -> Sequence[Row]:
        """The rows of all audit objects; StateError (damaged) for one that is missing or wrong."""
        audit_objects = view.audit_objects
        contents = self._folder.get_objects_or_none_in_order(
            [audit_object.name for audit_object in audit_objects]
        )
        rows: list[Row] = []
        for audit_object, content in zip(audit_objects, contents, strict=True):
            try:
                rows += decode_audit_rows(content or b"", audit_object.digest)
            except WrongContent:
                raise state_messages.build_damaged_state_error(
                    self._folder.location, f"{audit_object.name} is missing or damaged"
                ) from None
        return rows

    def _write_snapshot(self, view: ChainView, tables: TableRows) -> ChainView:
        """Write the state as of a view; returns the view at the snapshot. StateError if refused."""
        # Before the snapshot, which names it: an object that nobody names harms nothing.
        audit_objects = self._write_audit(view, tables["audit"])
        last = audit_objects[-1].last if audit_objects else 0
        newest_audit_rows = [row for row in tables["audit"] if row[0] > last]
        snapshot = Snapshot(
            view.number,
            view.digest,
            view.lock,
            tuple(sorted(view.never_pruned)),
            audit_objects,
            {**tables, "audit": newest_audit_rows},
        )
        encoded = encode_snapshot(snapshot, self._signer)
        name = build_snapshot_name(view.folder, view.number)
        # One of another process for this link is as true as ours.
        if not self._folder.try_put_if_absent_and_tell_if_certain(
            name, encoded.content
        ) and not self._folder.get_or_none_if_absent(name):
            raise StateError.from_summary("The snapshot was refused")
        return view.build_view_at_snapshot(snapshot, len(encoded.content))

    def _write_audit(self, view: ChainView, audit_rows: Sequence[Row]) -> tuple[AuditObject, ...]:
        """Write the older rows that no object has yet; returns all audit objects."""
        audit_objects = view.audit_objects
        last = audit_objects[-1].last if audit_objects else 0
        rows = sorted(row for row in audit_rows if row[0] > last)[:-_AUDIT_ROWS_IN_SNAPSHOT]
        if not rows:
            return audit_objects
        encoded = encode_audit_rows(rows)
        name = build_audit_name(view.folder, rows[0][0], rows[-1][0], encoded.digest)
        if not self._folder.try_put_if_absent_and_tell_if_certain(name, encoded.content):
            decode_audit_rows(self._folder.get_or_none_if_absent(name) or b"", encoded.digest)
        return (*audit_objects, AuditObject(name, encoded.digest, rows[-1][0]))

    def _prune(self, view: ChainView) -> None:
        """Delete what two newer snapshots replace, as far as permitted."""
        # What cannot be read replaces nothing.
        kept_snapshots = list(islice(self._reader.iter_readable_snapshots(view.folder), 2))
        if len(kept_snapshots) < 2:
            return
        readable = [snapshot.number for snapshot in kept_snapshots]
        prefix = folder_prefix_of(view.folder)
        links = self._map_numbers_to_is_old(f"{prefix}links/")
        numbers = select_links_to_prune(links, readable, view.never_pruned, view.number)
        names = [build_link_name(view.folder, number) for number in numbers if links[number]]
        snapshots = self._map_numbers_to_is_old(f"{prefix}snapshots/")
        names += [
            build_snapshot_name(view.folder, number)
            for number, is_old in snapshots.items()
            # Never a snapshot between the two, even if it cannot be read: who reads it now needs
            # it.
            if is_old and number < min(readable)
        ]
        # Those of this view too: its snapshot may be newer than the two that were just listed.
        kept_objects = {*view.audit_objects}.union(
            *(snapshot.audit_objects for snapshot in kept_snapshots)
        )
        audit_infos = self._folder.list_objects(f"{prefix}audit/")
        names += unnamed_audit_objects(
            [info.name for info in audit_infos if self._is_prunable(info)],
            {audit_object.name for audit_object in kept_objects},
        )
        if names:
            self._folder.delete_and_count_undeleted(names)

    def _map_numbers_to_is_old(self, prefix: str) -> dict[int, bool]:
        """The numbers below a prefix, each with whether it is old enough to be pruned."""
        infos = self._folder.list_objects(prefix)
        numbered = [(parse_object_number(info.name), self._is_prunable(info)) for info in infos]
        return {number: is_old for number, is_old in numbered if number is not None}

    def _is_prunable(self, info: ObjectInfo) -> bool:
        """Whether the store's own times say that an object is old enough to be pruned."""
        # A store that tells no times prunes nothing: a process may be about to read what is there.
        return info.age_seconds is not None and info.age_seconds >= self._prune_age_seconds
