"""How a chain is read: the newest snapshot, the links behind it, and on until a number is absent.

At most three round trips if nobody writes meanwhile: a list of snapshots, a list of links behind
the newest one, and all of these objects with the next number side by side. Links that were pruned
between two of them leave a gap, and reading begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from synapse_apply.model.errors import StateError
from synapse_apply.stores.chain.link_format import (
    CHAIN_FORMAT,
    ChainBookmark,
    ChainReading,
    ChainView,
    Decoded,
    Link,
    NewerContent,
    ObjectFolder,
    Seal,
    Snapshot,
    WrongContent,
    build_link_name,
    build_snapshot_name,
    decode_object_of_number,
    folder_prefix_of,
    parse_object_number,
    select_links_to_prune,
)
from synapse_apply.stores.database import DamagedLog, Signer
from synapse_apply.stores.state_messages import damage

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
                present = "nothing is there"
            elif is_cut_off:
                present = f"it ends at number {view.number}"
            else:
                present = f"another entry has that number, and it goes on to {view.number}"
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
            "Use the newer version, or one from its series.",
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
        raise WrongContent("is no link")
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
