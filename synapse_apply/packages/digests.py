"""Digests of files that were read before: who has not changed since is not read again.

They make plans faster and are never the last word: what is uploaded is hashed on its way out.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import (
    Content,
    Entry,
    Gathered,
    Measured,
    UnreadableError,
    Watch,
    measure,
    read_through,
)
from synapse_apply.packages.sighting import Sighting, is_as_seen

_HEAD = b"synapse-apply digests 1 "
_SHA256 = re.compile(r"[0-9a-f]{64}( x)?")
# What was not asked for in so many days is let go, and the oldest beyond so many files.
_DAYS, _MOST = 30, 200_000
# Days after which a use is written down though nothing else is new.
_USE_IS_OLD = 7
# Reading a file costs as much as so many bytes more of it; below so many bytes in one run, reading
# all of it again is cheaper than to write it down.
_A_FILE, _WORTH_KEEPING = 32 * 1024, 8 * 1024 * 1024


class ZipContent(NamedTuple):
    """What a zip holds, as `Measured` has it, and the SHA-256 of the zip's own bytes."""

    files: Mapping[str, str]
    size: int
    sha256: str


@frozen
class _Kept:
    """What a file held; `day` is the last one it was asked for, in days since 1970."""

    sighting: Sighting
    found: Content | ZipContent
    day: int

    @property
    def weight(self) -> int:
        return 1 + (len(self.found.files) if isinstance(self.found, ZipContent) else 0)

    @property
    def facts(self) -> tuple[Any, ...]:
        found = self.found
        if isinstance(found, ZipContent):
            return found
        return (found.sha256, found.size, found.is_pointer)


class Digests:
    """What earlier runs found, and what this one finds; a file that changed is not known.

    `kept` is what `encoded` gave, anything else counts as nothing. `today` in days since 1970,
    `seconds` is a clock that also counts while the machine is suspended.
    """

    def __init__(
        self, kept: bytes = b"", today: int = 0, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept = _decoded(kept, today)
        self._today = today
        self._seconds = seconds
        self._begun: float | None = None
        self._learnt: list[_Kept] = []
        self._worth = 0
        self._is_stale = False

    def measured(self, found: Gathered, watch: Watch | None = None) -> Measured:
        """As `measure` has it; what is known is not read."""
        whole = found.zip
        if whole is None or whole.sighting is None:
            return measure(found.entries, memory=self, watch=watch)
        known = self._known(whole.sighting)
        if isinstance(known, ZipContent) and watch is None:
            return Measured(dict(known.files), known.size)
        made = measure(found.entries, watch=watch)
        if not made.findings:
            # What changes meanwhile is no longer as it was seen, and so not kept.
            with suppress(UnreadableError):
                bytes_of_it = read_through(whole)
                content = ZipContent(made.files, made.size, bytes_of_it.sha256)
                self._note(whole.sighting, content)
        return made

    def recall(self, entry: Entry) -> Content | None:
        """As the `Memory` of `measure` has it."""
        if entry.sighting is None:
            return None
        known = self._known(entry.sighting)
        return known if isinstance(known, Content) else None

    def learn(self, entry: Entry, content: Content) -> None:
        """As the `Memory` of `measure` has it."""
        if entry.sighting is not None and content.size == entry.sighting.size:
            self._note(entry.sighting, content)

    def zip_seen(self, sighting: Sighting) -> ZipContent | None:
        """What a zip holds that is as it was when all of it was read; None where that is open."""
        kept = self._kept.get(sighting.path)
        known = kept.found if kept and kept.sighting == sighting else None
        return known if isinstance(known, ZipContent) else None

    @property
    def is_worth_keeping(self) -> bool:
        """Whether writing down what this run found spares the next one more than it costs."""
        return self._worth >= _WORTH_KEEPING or self._is_stale

    def settle(self, device: int, now: int) -> None:
        """Take over what this run found, where a change since would have been seen.

        `now` in nanoseconds is the clock of the file system `device`, which stamps its files.
        """
        elapsed = 0.0 if self._begun is None else self._seconds() - self._begun
        begun = now - int(elapsed * 1e9)
        for one in self._learnt:
            if one.sighting.is_settled(device, begun) and is_as_seen(one.sighting):
                self._kept[one.sighting.path] = one
        self._learnt = []

    def encoded(self) -> bytes:
        """All that is known, for the next run."""
        rows, room = [], _MOST
        for one in sorted(self._kept.values(), key=lambda one: -one.day):
            room -= one.weight
            if room >= 0 and one.day > self._today - _DAYS:
                rows.append([*one.sighting, one.day, *one.facts])
        body = json.dumps(rows, separators=(",", ":")).encode()
        return _HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    def _known(self, sighting: Sighting) -> Content | ZipContent | None:
        kept = self._kept.get(sighting.path)
        if kept is None or kept.sighting != sighting:
            if self._begun is None:
                self._begun = self._seconds()
            return None
        if kept.day != self._today:
            self._is_stale = self._is_stale or kept.day + _USE_IS_OLD < self._today
            self._kept[sighting.path] = _Kept(sighting, kept.found, self._today)
        return kept.found

    def _note(self, sighting: Sighting, found: Content | ZipContent) -> None:
        self._worth += _A_FILE + sighting.size
        self._learnt.append(_Kept(sighting, found, self._today))


def _decoded(data: bytes, today: int) -> dict[str, _Kept]:
    """Nothing for what is damaged, foreign or of another version: it is only slower."""
    head, _, body = data.partition(b"\n")
    if head != _HEAD + hashlib.sha256(body).hexdigest().encode():
        return {}
    try:
        kept = [_row(row, today) for row in json.loads(body)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {one.sighting.path: one for one in kept}


def _row(row: Any, today: int) -> _Kept:
    """One file as `encoded` has it; ValueError or TypeError for any other shape."""
    path, *numbers = row[:6]
    day, first, size, third = row[6:]
    if not isinstance(path, str) or not all(type(one) is int for one in (*numbers, day, size)):
        raise ValueError(path)
    is_zip = not isinstance(third, bool)
    found = ZipContent(first, size, third) if is_zip else Content(first, size, third)
    texts = [third, *first.values()] if is_zip else [first]
    if not all(_SHA256.fullmatch(text) for text in texts):
        raise ValueError(path)
    return _Kept(Sighting(path, *numbers), found, min(day, today))
