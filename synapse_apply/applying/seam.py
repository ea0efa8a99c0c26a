"""What of a reading of a log is new: no line twice, none left out.

A log only grows, but nothing numbers its lines. Its list begins with the first one. Where a tail
begins no server says: with the first line, with the last few, or with what is written from now on.
So the lines of a tail are laid over the lines that are known, at every place where they fit. While
several places fit and they disagree about whether a line is new, it is in doubt and not shown; the
list, read once more, has it, and tells which of the places can be.
"""

from __future__ import annotations

from collections import deque

from synapse_apply.model.logs import LogLine

HEAD = 64
TAIL = 10_000  # a tail that begins further back than so many lines, and not at the first, is new

# Message, time ("" is 0), and the message without a time that it begins with (0 without one).
_Key = tuple[int, int, int]


class Known:
    """The lines shown so far: how many, and the first and the last of them to compare with."""

    def __init__(self) -> None:
        """None yet."""
        self.count = 0
        self._head: list[_Key] = []
        self._tail: deque[_Key] = deque(maxlen=TAIL)

    def add(self, line: LogLine) -> None:
        key = _key(line)
        if self.count < HEAD:
            self._head.append(key)
        self._tail.append(key)
        self.count += 1

    def fits(self, number: int, line: LogLine) -> bool:
        """Whether line `number` (0 is the first) may be this one; True for one that is not kept."""
        key, first = _key(line), self.count - len(self._tail)
        if first <= number < self.count:
            return _same(self._tail[number - first], key)
        return number >= len(self._head) or _same(self._head[number], key)

    def places(self, line: LogLine) -> tuple[int, ...]:
        """Where this line may stand: the numbers of those like it, and the next one to come."""
        key, first = _key(line), self.count - len(self._tail)
        head = (0,) if first > 0 and _same(self._head[0], key) else ()
        tail = (first + at for at, known in enumerate(self._tail) if _same(known, key))
        return (*head, *tail, self.count)


class Listing:
    """One reading of the whole list. `gap` tells that lines before the last known one are new."""

    def __init__(self, known: Known) -> None:
        """To be made anew for each reading."""
        self._known = known
        self._count = known.count
        self._number = 0
        self._joined = known.count == 0
        self.gap = False

    def is_new(self, line: LogLine) -> bool:
        """Whether to show the next line of the list."""
        if self._joined:
            return True
        number, last = self._number, self._count - 1
        self._number += 1
        if number >= last:
            # It should be the last known line; if it is not, that one stands further down.
            self._joined = self._known.fits(last, line)
            self.gap = self.gap or not self._joined
        return False


class Tail:
    """One reading of a tail. `doubt` tells that the list must be asked what is new."""

    def __init__(self, known: Known, *, has_list: bool) -> None:
        """To be made anew for each connection, once the list was read.

        Without a list to ask the earliest place counts: a line shown twice cannot be undone.
        """
        self._known = known
        self._has_list = has_list
        self._read = 0
        self._starts: tuple[int, ...] = ()
        self._doubtful: deque[tuple[int, LogLine]] = deque(maxlen=HEAD)
        self.doubt = False
        self.asked_once = False

    @property
    def settled(self) -> bool:
        """Whether it is known where this tail began."""
        return len(self._starts) == 1

    def is_new(self, line: LogLine) -> bool:
        """Whether to show the next line of the tail. In doubt none is: the list will have them."""
        known, at = self._known, self._read
        if at == 0:
            self._starts = known.places(line)
        elif not (self.settled and self._starts[0] + at >= known.count):
            fit = tuple(start for start in self._starts if known.fits(start + at, line))
            self._starts = fit or (known.count - at,)
        if not self._has_list:
            self._starts = self._starts[:1]
        self._read += 1
        ahead = {max(start + at - known.count, -1) for start in self._starts}
        self.doubt = self.doubt or (ahead not in ({-1}, {0}))
        if self.doubt:
            self._doubtful.append((at, line))
        return ahead == {0} and not self.doubt

    def asked(self) -> None:
        """The list was read: it has all that the tail has brought, and no tail brings more."""
        known = self._known
        fit = tuple(
            start
            for start in self._starts
            if start + self._read <= known.count
            and all(known.fits(start + at, line) for at, line in self._doubtful)
        )
        self._starts = fit or self._starts
        self._doubtful.clear()
        self.doubt, self.asked_once = False, True


def _key(line: LogLine) -> _Key:
    rest = line.message_without_time
    return (
        hash(line.message),
        hash(line.timestamp) if line.timestamp else 0,
        hash(rest) if rest != line.message else 0,
    )


def _same(one: _Key, other: _Key) -> bool:
    """The tail of some servers leaves times out that their list has, beside a text or in it."""
    if one[0] == other[0]:
        return one[1] == other[1] or not one[1] or not other[1]
    return (one[2] != 0 and one[2] == other[0]) or (other[2] != 0 and other[2] == one[0])
