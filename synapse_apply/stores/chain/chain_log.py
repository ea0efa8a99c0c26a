"""How a chain is read, and when a link is part of it: a BatchLog in a folder of objects.

Objects are made only if absent, and an answer other than success decides nothing: the link is read
(link_format.py). Snapshots save reading: a write never fails because the store refuses one, or
refuses to delete what it replaces.

Reading begins with the newest snapshot, and goes on until a number is absent. It takes at most
three round trips if nobody writes meanwhile: a list of snapshots, a list of links behind the newest
one, and all of these objects with the next number side by side. Links that were pruned between two
of them leave a gap, and reading begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import replace
from synapse_apply.stores.chain.link_format import (
    CHAIN_FORMAT,
    PRUNE_AGE_SECONDS,
    AuditObject,
    ChainBookmark,
    ChainReading,
    ChainView,
    Decoded,
    Encoded,
    Link,
    LinkOutcome,
    LockSign,
    NewerContent,
    ObjectFolder,
    Seal,
    Snapshot,
    WrongContent,
    build_audit_name,
    build_link_name,
    build_snapshot_name,
    decide_link_outcome,
    decode_audit_rows,
    decode_object_of_number,
    encode_audit_rows,
    encode_link,
    encode_seal,
    encode_snapshot,
    folder_prefix_of,
    is_link_in_the_chain,
    parse_bookmark_or_none,
    parse_object_number,
    select_links_to_prune,
)
from synapse_apply.stores.database import (
    AppendedBatch,
    Batch,
    BatchLog,
    DamagedLog,
    LeaseTiming,
    LogReading,
    Row,
    Signer,
    TableRows,
    UnsignedStateSigner,
    WritePace,
)
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.replica.replica_database import ReplicaDatabase
from synapse_apply.stores.sql import SqlStore, utc_now
from synapse_apply.stores.state_messages import (
    damage,
    fault,
    require_signed,
    signature_warnings,
    warning,
)

# A gap is met so often before it counts as damage.
_MAX_READS = 5
# How many numbers are asked for at once, while all before were there.
_WINDOWS = (1, 8, 64)


class _GapMet(Exception):
    """An object that was there, or is in between of others, is absent."""

    def __init__(self, name: str, reading: ChainReading) -> None:
        super().__init__(name)
        self.name = name
        self.reading = reading


class _SealMet(Exception):
    """The chain goes on in another folder, behind this view."""

    def __init__(self, view: ChainView) -> None:
        super().__init__()
        self.view = view


class ChainReader:
    """Reads the chain in one folder of a store."""

    def __init__(
        self, folder: ObjectFolder, signer: Signer, sleep_for: Callable[[float], None]
    ) -> None:
        self._folder = folder
        self._signer = signer
        self._sleep_for = sleep_for
        # What the chain must go on from, and the digest that its number has now; "" if not met.
        self.bookmark: ChainBookmark | None = None
        self._digest_at_bookmark = ""
        # The last link that could be read before the last damage.
        self.view_before_damage = ChainView()

    def read_whole_chain(self) -> ChainReading:
        """The whole chain, from its newest snapshot on.

        DamagedLog for what is missing or wrong, and where it does not go on from the bookmark.
        """
        start = ChainView()
        self._digest_at_bookmark = ""
        while True:
            try:
                reading = self._read_folder(start)
            except _SealMet as seal_met:
                start = seal_met.view
            else:
                self._require_continuation(reading)
                return reading

    def _require_continuation(self, reading: ChainReading) -> None:
        """DamagedLog where the chain ends before the bookmark, or has another link there.

        Behind a seal all is right: a restore has left behind what was there.
        """
        bookmark, view = self.bookmark, reading.view
        if bookmark is None or view.folder > bookmark.folder:
            return
        is_cut_off = (view.folder, view.number) < (bookmark.folder, bookmark.number)
        # Without a digest the link was pruned since, and nothing can tell any more.
        if is_cut_off or self._digest_at_bookmark not in ("", bookmark.digest):
            if not view.number:
                present = "the folder is empty"
            elif is_cut_off:
                present = f"it ends at number {view.number}"
            else:
                present = f"another entry has that number, and the chain continues to {view.number}"
            raise self._damage("chain set back", reading, number=bookmark.number, present=present)

    def _damage(self, rule: str, reading: ChainReading, **values: object) -> DamagedLog:
        """The error of a rule, after what can be read was noted."""
        self.view_before_damage = reading.view
        return damage(rule, self._folder.location, reading.to_log_reading(), **values)

    def _remember_digest(self, folder: int, number: int, digest: str) -> None:
        """Take note of the digest of a link, if the bookmark is of that link."""
        bookmark = self.bookmark
        if bookmark is not None and (folder, number) == (bookmark.folder, bookmark.number):
            self._digest_at_bookmark = digest

    def read_on_or_whole_chain(self, view: ChainView) -> ChainReading:
        """What follows a view; all of the chain if it goes on in another folder."""
        try:
            return self._read_links(ChainReading(view, None, ()), [])
        except (_GapMet, _SealMet):
            return self.read_whole_chain()

    def list_numbers_above(self, folder: int, part: str, after: int = 0) -> list[int]:
        """The numbers of the links or snapshots (`part`) of a folder that are above `after`."""
        prefix = f"{folder_prefix_of(folder)}{part}/"
        # Twelve digits sort as numbers do, so that the store itself leaves out what is known.
        after_name = f"{prefix}{after:012}" if after else ""
        infos = self._folder.list_objects(prefix, after_name)
        numbers = (parse_object_number(info.name) for info in infos)
        return sorted(number for number in numbers if number is not None and number > after)

    def iter_readable_snapshots(self, folder: int, after: int = 0) -> Iterator[Snapshot]:
        """The snapshots that can be read, the newest first; reads one after the other.

        Anything else below such a name proves nothing about the chain.
        """
        for number in reversed(self.list_numbers_above(folder, "snapshots", after)):
            content = self._folder.get_or_none_if_absent(build_snapshot_name(folder, number))
            # A snapshot that was pruned since it was listed is passed by, as a damaged one is.
            decoded = self._decode_snapshot(folder, number, content)
            if decoded is not None and isinstance(decoded.value, Snapshot):
                yield decoded.value

    def list_prunable(
        self, view: ChainView, kept_snapshots: Sequence[Snapshot], age_seconds: float
    ) -> list[str]:
        """The names of what two newer snapshots replace, if it is that old by the store's times.

        A store that tells no times prunes nothing: a process may be about to read what is there.
        """
        prefix = folder_prefix_of(view.folder)
        readable = [snapshot.number for snapshot in kept_snapshots]
        if len(readable) < 2:
            return []

        def list_old(part: str) -> list[str]:
            return [
                info.name
                for info in self._folder.list_objects(f"{prefix}{part}/")
                if info.age_seconds is not None and info.age_seconds >= age_seconds
            ]

        def list_numbers(part: str) -> list[int]:
            numbers = map(parse_object_number, list_old(part))
            return [number for number in numbers if number is not None]

        links = select_links_to_prune(
            list_numbers("links"), readable, view.never_pruned, view.number
        )
        names = [build_link_name(view.folder, number) for number in links]
        # Never a snapshot between the two, even if it cannot be read: who reads it now needs it.
        names += [
            build_snapshot_name(view.folder, number)
            for number in list_numbers("snapshots")
            if number < min(readable)
        ]
        # Those of this view too: its snapshot may be newer than the two that were just listed.
        kept_objects = {*view.audit_objects}.union(
            *(snapshot.audit_objects for snapshot in kept_snapshots)
        )
        kept_names = {audit_object.name for audit_object in kept_objects}
        # What no kept snapshot names: a restore has left its rows behind, or a snapshot that was
        # to name it was never made.
        return names + [name for name in list_old("audit") if name not in kept_names]

    def read_start_view(self) -> ChainView:
        """The view from which the last folder is read, whether or not it can be read."""
        start = ChainView()
        while True:
            numbers = self.list_numbers_above(start.folder, "links", start.number)
            content = (
                self._folder.get_or_none_if_absent(build_link_name(start.folder, numbers[-1]))
                if numbers
                else None
            )
            try:
                self._raise_if_stored_seal(start, numbers[-1] if numbers else 0, content)
            except _SealMet as seal_met:
                start = seal_met.view
            else:
                return start

    def is_folder_begun(self, start: ChainView) -> bool:
        """Whether a folder's first link follows the seal that leads there, which `start` is of."""
        name = build_link_name(start.folder, start.number + 1)
        decoded = self._decode_if_readable(name, self._folder.get_or_none_if_absent(name))
        link = decoded.value if decoded is not None else None
        return isinstance(link, Link) and link.previous == start.digest

    def _read_folder(self, start: ChainView) -> ChainReading:
        """All links of one folder; _SealMet if the chain goes on in another one."""
        for _ in range(_MAX_READS):
            try:
                return self._read_folder_once(start)
            except _GapMet as gap:
                problem = gap
            # A list that is behind, or a prune in between, is another one a moment later.
            self._sleep_for(0.1)
        raise self._damage("damaged chain", problem.reading, name=problem.name, reason="is missing")

    def _read_folder_once(self, start: ChainView) -> ChainReading:
        snapshots = self.list_numbers_above(start.folder, "snapshots", start.number)
        damaged: list[int] = []
        while True:
            base = next((number for number in reversed(snapshots) if number not in damaged), 0)
            numbers = self.list_numbers_above(start.folder, "links", base or start.number)
            numbers = _fill_small_gaps(numbers, (base or start.number) + 1)
            names = [build_link_name(start.folder, number) for number in numbers]
            next_number = (numbers[-1] if numbers else base or start.number) + 1
            # One more than was listed: most often this tells at once that the list was complete.
            names.append(build_link_name(start.folder, next_number))
            if base:
                names.append(build_snapshot_name(start.folder, base))
            bookmark = self.bookmark
            is_bookmark_before = (
                bookmark is not None and bookmark.folder == start.folder and bookmark.number < base
            )
            if bookmark is not None and is_bookmark_before:
                names.append(build_link_name(start.folder, bookmark.number))
            contents = self._folder.get_objects_or_none_in_order(names)
            if bookmark is not None and is_bookmark_before:
                # The link behind which the reading begins, if it still stands.
                name = build_link_name(start.folder, bookmark.number)
                if decoded := self._decode_if_readable(name, contents.pop()):
                    self._remember_digest(start.folder, bookmark.number, decoded.digest)
            if numbers:
                # Before the links are read: behind a seal it does not matter what they are.
                self._raise_if_stored_seal(start, numbers[-1], contents[len(numbers) - 1])
            view = replace(start, damaged_snapshots=tuple(damaged))
            reading = ChainReading(view, {}, ())
            if base:
                snapshot_reading = self._read_snapshot(view, base, contents.pop())
                if snapshot_reading is None:
                    # The snapshot before it is tried, since the links behind that one were kept for
                    # this.
                    damaged.append(base)
                    continue
                reading = snapshot_reading
            if not numbers and not base and start.number:
                raise self._damage(
                    "damaged chain",
                    reading,
                    name=build_link_name(start.folder, start.number + 1),
                    reason="is missing, because a restore was interrupted",
                )
            by_number = dict(zip([*numbers, next_number], contents, strict=True))
            links, number = [], reading.view.number + 1
            while (content := by_number.get(number)) is not None:
                links.append(content)
                number += 1
            reading = self._add_links(reading, links)
            # A number that is absent in between of others is a gap.
            if number < next_number:
                raise _GapMet(build_link_name(start.folder, number), reading)
            return reading if number == next_number else self._read_links(reading, [])

    def _read_links(self, reading: ChainReading, contents: Sequence[bytes | None]) -> ChainReading:
        """Add these links, and those behind them until a number is absent."""
        # Small windows first: mostly nothing follows, and a request for nothing costs as much.
        windows = iter(_WINDOWS)
        window = next(windows)
        while True:
            reading = self._add_links(reading, contents)
            view = reading.view
            numbers = range(view.number + 1, view.number + 1 + window)
            names = [build_link_name(view.folder, number) for number in numbers]
            stored = self._folder.get_objects_or_none_in_order(names)
            absent = stored.index(None) if None in stored else window
            if absent < window and all(content is None for content in stored[absent:]):
                return self._add_links(reading, stored[:absent])
            # If it is there now, it was made while those behind it were asked for.
            if absent < window and self._folder.get_or_none_if_absent(names[absent]) is None:
                raise _GapMet(names[absent], reading)
            contents, window = stored[:absent], next(windows, _WINDOWS[-1])

    def _read_snapshot(
        self, view: ChainView, number: int, content: bytes | None
    ) -> ChainReading | None:
        """The reading of a snapshot, None if it is damaged; _GapMet if it was pruned meanwhile."""
        if content is None:
            name = build_snapshot_name(view.folder, number)
            raise _GapMet(name, ChainReading(view, {}, ()))
        decoded = self._decode_snapshot(view.folder, number, content)
        if decoded is None or not isinstance(decoded.value, Snapshot):
            return None
        view = view.build_view_at_snapshot(
            decoded.value, len(content), is_genuine=decoded.is_genuine
        )
        self._remember_digest(view.folder, view.number, view.digest)
        return ChainReading(view, decoded.value.tables, ())

    def _decode_snapshot(self, folder: int, number: int, content: bytes | None) -> Decoded | None:
        """A snapshot; None for what is none, or is signed wrong and so was not written by us."""
        decoded = self._decode_if_readable(build_snapshot_name(folder, number), content)
        is_ours = (
            decoded is not None
            and isinstance(decoded.value, Snapshot)
            and decoded.is_genuine is not False
        )
        return decoded if is_ours else None

    def _add_links(self, reading: ChainReading, contents: Sequence[bytes | None]) -> ChainReading:
        """The reading with the next links; DamagedLog for one that does not fit."""
        view, batches = reading.view, list(reading.batches)
        for content in contents:
            number = view.number + 1
            name = build_link_name(view.folder, number)
            try:
                decoded = self._decode(name, content)
                _raise_seal(view, decoded)
                link = _require_next_link(view, decoded)
            except WrongContent as problem:
                reading = ChainReading(view, reading.tables, tuple(batches))
                raise self._damage("damaged chain", reading, name=name, reason=problem) from None
            view = view.build_view_after_link(
                link, decoded.digest, len(content or b""), is_genuine=decoded.is_genuine
            )
            self._remember_digest(view.folder, view.number, view.digest)
            batches.append(link.batch)
        return ChainReading(view, reading.tables, tuple(batches))

    def _raise_if_stored_seal(self, view: ChainView, number: int, content: bytes | None) -> None:
        """_SealMet if this object, the last of its folder, is a seal."""
        if decoded := self._decode_if_readable(build_link_name(view.folder, number), content):
            _raise_seal(view, decoded)

    def _decode_if_readable(self, name: str, content: bytes | None) -> Decoded | None:
        """As `_decode`; None for an absent object, and for what no chain has in this place."""
        try:
            return self._decode(name, content) if content is not None else None
        except WrongContent:
            return None

    def _decode(self, name: str, content: bytes | None) -> Decoded:
        """The object of a name; WrongContent, and StateError for what a newer version wrote."""
        number = parse_object_number(name) or 0
        try:
            return decode_object_of_number(content or b"", number, self._signer)
        except NewerContent as newer:
            (format_number,) = newer.args
        raise StateError.from_summary(
            "The state was written by a newer version of synapse-apply",
            f"{self._folder.location}: {name} has format {int(format_number)}; this version reads "
            f"up to {CHAIN_FORMAT}.",
            "Use the newer version, or a version from the same series.",
        )


def _raise_seal(view: ChainView, decoded: Decoded) -> None:
    """_SealMet if this is a seal, with the view from which its folder is read; numbers go on.

    Behind a genuine seal it does not matter what was forged before: a restore left it behind.
    """
    seal = decoded.value
    if isinstance(seal, Seal) and seal.next_folder == view.folder + 1:
        raise _SealMet(
            ChainView(
                seal.next_folder,
                seal.number,
                decoded.digest,
                forged_number=seal.number if decoded.is_genuine is False else 0,
                lacks_key=decoded.is_genuine is None,
            )
        )


def _require_next_link(view: ChainView, decoded: Decoded) -> Link:
    """The link that follows a view; WrongContent for anything else."""
    link = decoded.value
    if not isinstance(link, Link):
        raise WrongContent("is not a link")
    if link.previous != view.digest:
        raise WrongContent("does not follow the link before it")
    return link


def _fill_small_gaps(numbers: Sequence[int], first: int) -> list[int]:
    """All numbers from the first to the last one, unless very many are not among them.

    Some lists are not of one moment: what they do not have may be there.
    """
    if not numbers or numbers[-1] - first > 2 * len(numbers) + 64:
        return list(numbers)
    return list(range(first, numbers[-1] + 1))


# The newest rows of the audit table stay in the snapshot, so that most readers need no others.
_AUDIT_ROWS_IN_SNAPSHOT = 20
# After a snapshot could not be written, so many links go by before it is tried again.
_LINKS_BETWEEN_ATTEMPTS = 20


# A write to a bucket takes some 0.1 s, and may take seconds.
CHAIN_TIMING = LeaseTiming(lease_seconds=60.0, heartbeat_seconds=20.0, seconds_to_start=10.0)
CHAIN_PACE = WritePace(longest_deferral=1.0)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0


class _PendingLink(NamedTuple):
    """A link that was sent, and is sent with the same bytes until it is settled."""

    batch_id: str
    position: str
    link: Link
    encoded: Encoded


def make_unread_chain_store(
    folder: ObjectFolder,
    *,
    signer: Signer | None = None,
    tool_version: str = "",
    now: Callable[[], str] = utc_now,
    runner: LockRunner | None = None,
    fresh_seconds: float = 0.0,
) -> SqlStore:
    """The store whose state is a chain in this folder; nothing is read yet.

    `fresh_seconds` is as for ReplicaDatabase.
    """
    runner = runner or LockRunner()
    log = ChainLog(folder, signer, runner.timing or CHAIN_TIMING)
    return SqlStore(ReplicaDatabase(log, fresh_seconds), tool_version, now, runner)


class ChainLog(BatchLog):
    """A BatchLog (stores/database.py, which documents its methods) in a folder of objects."""

    def __init__(
        self,
        folder: ObjectFolder,
        signer: Signer | None = None,
        timing: LeaseTiming = CHAIN_TIMING,
        pace: WritePace = CHAIN_PACE,
        prune_age_seconds: float = PRUNE_AGE_SECONDS,
    ) -> None:
        """Tests shorten `prune_age_seconds`, below which nothing is pruned."""
        self.location, self.write_pace = folder.location, pace
        self._folder = folder
        self._signer = signer or UnsignedStateSigner()
        self._has_begun_anew = False
        self._timing = timing
        self._prune_age_seconds = prune_age_seconds
        self._reader = ChainReader(folder, self._signer, timing.sleep_for)
        self._next_snapshot_at = 0
        self._view: ChainView | None = None
        self._pending: _PendingLink | None = None
        # Boot time before the last look at which nothing stood behind the view.
        self._looked_at = 0.0

    @property
    def last_link_number_and_digest(self) -> tuple[int, str]:
        """Number and digest of the last link that was read, (0, "") for none.

        Whoever remembers them sees whether a chain was wound back.
        """
        return (self._view.number, self._view.digest) if self._view is not None else (0, "")

    @property
    def bookmark(self) -> str:
        return self._view.position if self._view is not None and self._view.is_genuine else ""

    def require_continuation_in_reads(self, bookmark: str) -> None:
        self._reader.bookmark = parse_bookmark_or_none(bookmark)

    def exists(self) -> bool:
        prefixes = ("links/", "snapshots/")
        # Snapshots as well: the links of a long chain may have been pruned up to the last one.
        has_objects = any(next(iter(self._folder.list_objects(name)), None) for name in prefixes)
        # A page that a proxy answers with reads as an empty list. It does not read as an object.
        return has_objects or self._folder.get_or_none_if_absent(build_link_name(1, 1)) is not None

    def read_since_position_or_anew(self, position: str) -> LogReading:
        # Before the reading, so that what the age is counted from is never too late.
        view, looked_at = self._view, self._timing.boottime()
        if (
            view is not None
            and position
            and position == view.position
            and not self._may_be_pruned(view)
        ):
            reading = self._reader.read_on_or_whole_chain(view)
        else:
            reading = self._reader.read_whole_chain()
        self._view, self._looked_at = reading.view, looked_at
        return reading.to_log_reading()

    def append_or_none_if_overtaken(self, batch: Batch, position: str) -> AppendedBatch | None:
        view = self._view if position and self._view is not None else ChainView()
        if view.position != position:
            raise ValueError("a batch is appended behind what was read last")
        # A restore or a rekey may do what no other write may: begin anew behind what is not
        # believed.
        if batch.replaces_all and self._is_replaceable(view):
            return self.restart_after_damage_unless_overtaken(batch)
        require_signed(self.location, self._signer, view.doubted_name, is_genuine=view.is_genuine)
        pending = self._pending
        if pending is None or (pending.batch_id, pending.position) != (batch.batch_id, position):
            link = Link(view.number + 1, view.digest, batch, self._build_lock_sign(view, batch))
            # The bytes are kept: what is sent again must be the same object, or it would be
            # another's.
            encoded = encode_link(link, self._signer)
            pending = self._pending = _PendingLink(batch.batch_id, position, link, encoded)
        sent_at, link = self._timing.boottime(), pending.link
        name = build_link_name(view.folder, link.number)
        outcome, was_told = self._send_link(name, pending.encoded.content)
        is_ours = outcome is LinkOutcome.OURS and self._is_in_chain(view, link)
        # After an unclear answer time has passed, in which others may have gone on behind this
        # link.
        is_last = was_told or (
            is_ours
            and self._folder.get_or_none_if_absent(build_link_name(view.folder, link.number + 1))
            is None
        )
        # Only now: an error above leaves the outcome unknown, and the same bytes are sent again.
        self._pending = None
        if not is_ours:
            if outcome is LinkOutcome.OURS:
                self._view = None  # the link stands where others were pruned: all is read anew
            return None
        self._view = view.build_view_after_link(
            link, pending.encoded.digest, len(pending.encoded.content)
        )
        self._looked_at = sent_at
        return AppendedBatch(self._view.position, is_last)

    def restart_after_damage_unless_overtaken(self, batch: Batch) -> AppendedBatch | None:
        try:
            reading = self._reader.read_whole_chain()
        except DamagedLog:
            pass
        else:
            if not self._is_replaceable(reading.view):
                # Where this batch is in a chain that can be read again; None if it is another's.
                batch_ids = [earlier.batch_id for earlier in reading.batches]
                if batch.batch_id not in batch_ids:
                    return None
                self._view = reading.view
                is_last = batch_ids[-1] == batch.batch_id
                return AppendedBatch(reading.view.position if is_last else "", is_last)
        start = self._reader.read_start_view()
        numbers, is_left_behind = (self._numbers_after(start), self._is_replaceable(start))
        # A seal that is not genuine leads to a folder in which one that is follows at once. Where a
        # seal was lost, the next folder is that of an earlier restore, and is passed by.
        # Who remembers a link that is gone believes what follows a seal behind it alone.
        bookmark = self._reader.bookmark or ChainBookmark(0, 0, "")
        while numbers or is_left_behind or start.folder <= bookmark.folder:
            seen_number = bookmark.number if start.folder == bookmark.folder else 0
            number = max(*numbers, start.number, seen_number) + 1
            seal = Seal(number, start.folder + 1)
            encoded = encode_seal(seal, self._signer)
            name = build_link_name(start.folder, seal.number)
            outcome, _ = self._send_link(name, encoded.content)
            if outcome is not LinkOutcome.OURS:
                return None
            start = ChainView(seal.next_folder, seal.number, encoded.digest)
            if self._reader.is_folder_begun(start):
                # Two processes that restore make the same seal: the first link behind it decides
                # between them.
                return None  # by another process, behind the same seal
            numbers, is_left_behind = self._numbers_after(start), False
        self._view, self._pending, self._has_begun_anew = start, None, True
        return self.append_or_none_if_overtaken(batch, start.position)

    def _numbers_after(self, start: ChainView) -> list[int]:
        """The numbers of what a folder holds, links and snapshots, behind a view."""
        parts = ("links", "snapshots")
        return [
            number
            for part in parts
            for number in self._reader.list_numbers_above(start.folder, part, start.number)
        ]

    def compact_if_due(self, position: str, read_tables: Callable[[], TableRows]) -> None:
        view = self._view
        if (
            view is None
            or view.position != position
            or not view.needs_snapshot
            # After a refusal not at every write: a store that forbids it would forbid it each time.
            or view.number < self._next_snapshot_at
        ):
            return
        try:
            self._view = view = self._write_snapshot(view, read_tables())
            # What cannot be read replaces nothing.
            kept_snapshots = list(islice(self._reader.iter_readable_snapshots(view.folder), 2))
            prunable = self._reader.list_prunable(view, kept_snapshots, self._prune_age_seconds)
            if prunable:
                self._folder.delete_and_count_undeleted(prunable)
        except (StateError, WrongContent):
            # A snapshot only saves reading, so that a write never fails because of it.
            self._next_snapshot_at = view.number + _LINKS_BETWEEN_ATTEMPTS

    def read_audit_rows_not_read_yet(self) -> Sequence[Row]:
        audit_objects = (self._view or self._reader.view_before_damage).audit_objects
        contents = self._folder.get_objects_or_none_in_order(
            [audit_object.name for audit_object in audit_objects]
        )
        rows: list[Row] = []
        for audit_object, content in zip(audit_objects, contents, strict=True):
            try:
                rows += decode_audit_rows(content or b"", audit_object.digest)
            except WrongContent:
                reason = f"{audit_object.name} is missing or damaged"
                raise fault("damaged", self.location, reason=reason) from None
        return rows

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        view = self._view
        if view is None:
            return ()
        warnings = signature_warnings(self.location, view.doubted_name, is_genuine=view.is_genuine)
        if view.damaged_snapshots:
            names = [build_snapshot_name(view.folder, number) for number in view.damaged_snapshots]
            warnings += (warning("damaged snapshot", self.location, names=", ".join(names)),)
        return warnings

    def close(self) -> None:
        self._folder.close()

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

    def _may_be_pruned(self, view: ChainView) -> bool:
        """Whether the chain may have gone on so long ago that what follows the view was pruned.

        Then an absent number does not tell that nothing follows. A list of snapshots does.
        """
        if self._timing.boottime() - self._looked_at < self._prune_age_seconds / 2:
            return False
        return bool(self._reader.list_numbers_above(view.folder, "snapshots", view.number))

    def _build_lock_sign(self, view: ChainView, batch: Batch) -> LockSign:
        if not batch.lock_id:
            return LockSign()
        # The number of the link with which the lock was taken tells leases of one owner apart.
        if batch.takes_lock:
            return LockSign(batch.lock_id, view.number + 1, self._timing.lease_seconds)
        return view.lock

    def _is_in_chain(self, view: ChainView, link: Link) -> bool:
        """Whether a link that was made is part of the chain; asks for snapshots if it must."""
        # Where an owner of the lock writes, links are never pruned.
        by_lock_owner = bool(view.lock.lock_id) and not (
            link.batch.takes_lock or link.batch.ends_foreign_lock
        )
        newest_snapshot = 0
        if not by_lock_owner:
            readable = self._reader.iter_readable_snapshots(view.folder, view.number)
            newest_snapshot = next((snapshot.number for snapshot in readable), 0)
        return is_link_in_the_chain(link.number, newest_snapshot, by_lock_owner=by_lock_owner)

    def _send_link(self, name: str, content: bytes) -> tuple[LinkOutcome, bool]:
        """Send an object until it stands there, or another one does.

        Returns what stands there, and whether the store said that it made ours. StateError while
        that is unknown.
        """
        timing = self._timing
        # A third of a lease: who sends for longer could no longer renew the lock in time.
        deadline = timing.monotonic() + timing.lease_seconds / 3
        pause_seconds, last_problem = _FIRST_PAUSE_SECONDS, ""
        while True:
            try:
                if self._folder.try_put_if_absent_and_tell_if_certain(name, content):
                    return LinkOutcome.OURS, True
            except StateError as problem:
                # It may have arrived all the same; if the store is gone, so is the next answer.
                last_problem = problem.diagnostics[0].detail or problem.diagnostics[0].summary
            outcome = decide_link_outcome(content, self._folder.get_or_none_if_absent(name))
            if outcome is not LinkOutcome.ABSENT:
                return outcome, False
            if timing.monotonic() >= deadline:
                reason = f" The last attempt: {last_problem}" if last_problem else ""
                raise fault("link unsettled", self.location, name=name, reason=reason)
            timing.sleep_for(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _is_replaceable(self, view: ChainView) -> bool:
        """Whether what was read is not to be trusted, and this process can sign a new beginning."""
        # Once in a run: behind the new beginning everything is of the new key.
        is_renewed = self._signer.is_renewed and not self._has_begun_anew
        is_of_other_key = view.lacks_key or is_renewed
        return bool(
            view.forged_number or (is_of_other_key and self._signer.sign_or_empty_without_key(""))
        )
