"""Which lines of a log that is read again are new, so that none is shown twice or left out.

A log only grows, but its lines have no numbers. Its list begins with the first one. Where a tail
begins is not said: with the first line, with the last few, or with those written from now on.
So the lines of a tail are compared with the known lines, at every position where they match. While
several positions match and disagree about whether a line is new, it is in doubt and not shown; the
list, read once more, has it, and shows which of the positions are possible.
"""

from __future__ import annotations

from collections import deque

from synapse_apply.model.remote.log_lines import LogLine

HEAD_LENGTH = 64
TAIL_LENGTH = (
    10_000  # a tail that begins further back than so many lines, and not at the first, is new
)

# Message, time ("" is 0), and the message without a time that it begins with (0 without one).
_LineKey = tuple[int, int, int]


class ShownLines:
    """The lines shown so far: their number, and keys of the first and last ones for comparison."""

    def __init__(self) -> None:
        """No line was shown yet."""
        self.count = 0
        self._head: list[_LineKey] = []
        self._tail: deque[_LineKey] = deque(maxlen=TAIL_LENGTH)

    def add_line(self, line: LogLine) -> None:
        key = _build_line_key(line)
        if self.count < HEAD_LENGTH:
            self._head.append(key)
        self._tail.append(key)
        self.count += 1

    def can_be_line(self, number: int, line: LogLine) -> bool:
        """Whether line `number` (from 0) may be this one; True where its key is no longer known."""
        key, first_kept = _build_line_key(line), self.count - len(self._tail)
        if first_kept <= number < self.count:
            return _is_same_line(self._tail[number - first_kept], key)
        return number >= len(self._head) or _is_same_line(self._head[number], key)

    def possible_positions(self, line: LogLine) -> tuple[int, ...]:
        """The numbers that a line may have: those of equal lines, and the next new one."""
        key, first_kept = _build_line_key(line), self.count - len(self._tail)
        head = (0,) if first_kept > 0 and _is_same_line(self._head[0], key) else ()
        tail = (
            first_kept + offset
            for offset, known_key in enumerate(self._tail)
            if _is_same_line(known_key, key)
        )
        return (*head, *tail, self.count)


class LogListing:
    """One reading of the whole list.

    `has_gap` says that lines before the last known one are new, so some were missed before.
    """

    def __init__(self, shown_lines: ShownLines) -> None:
        """To be created for each reading of the list."""
        self._shown_lines = shown_lines
        self._count = shown_lines.count
        self._number = 0
        self._has_joined = shown_lines.count == 0
        self.has_gap = False

    def is_new_line(self, line: LogLine) -> bool:
        """Whether the next line of the list is new, and to be shown."""
        if self._has_joined:
            return True
        number, last_position = self._number, self._count - 1
        self._number += 1
        if number >= last_position:
            # This should be the last known line; if it is not, lines were inserted before that one.
            self._has_joined = self._shown_lines.can_be_line(last_position, line)
            self.has_gap = self.has_gap or not self._has_joined
        return False


class LogTail:
    """One reading of a tail; `is_in_doubt` says that only the list shows what is new."""

    def __init__(self, shown_lines: ShownLines, *, has_list: bool) -> None:
        """To be created for each connection, after the list was read.

        Without a list to consult (`has_list` is False) the earliest matching position counts, since
        a line that was shown twice cannot be taken back.
        """
        self._shown_lines = shown_lines
        self._has_list = has_list
        self._lines_read = 0
        self._starts: tuple[int, ...] = ()
        self._doubtful: deque[tuple[int, LogLine]] = deque(maxlen=HEAD_LENGTH)
        self.is_in_doubt = False
        self.was_list_read = False

    @property
    def is_start_known(self) -> bool:
        """Whether the number of this tail's first line is known."""
        return len(self._starts) == 1

    def is_new_line(self, line: LogLine) -> bool:
        """Whether the next line of the tail is new; False in doubt, since the list will have it."""
        shown_lines, position = self._shown_lines, self._lines_read
        if position == 0:
            self._starts = shown_lines.possible_positions(line)
        elif not (self.is_start_known and self._starts[0] + position >= shown_lines.count):
            fitting_starts = tuple(
                start for start in self._starts if shown_lines.can_be_line(start + position, line)
            )
            self._starts = fitting_starts or (shown_lines.count - position,)
        if not self._has_list:
            self._starts = self._starts[:1]
        self._lines_read += 1
        ahead = {max(start + position - shown_lines.count, -1) for start in self._starts}
        self.is_in_doubt = self.is_in_doubt or (ahead not in ({-1}, {0}))
        if self.is_in_doubt:
            self._doubtful.append((position, line))
        return ahead == {0} and not self.is_in_doubt

    def resolve_doubt(self) -> None:
        """Drop start positions that contradict the list, which was read and has all of the tail."""
        shown_lines = self._shown_lines
        fitting_starts = tuple(
            start
            for start in self._starts
            if start + self._lines_read <= shown_lines.count
            and all(
                shown_lines.can_be_line(start + position, line) for position, line in self._doubtful
            )
        )
        self._starts = fitting_starts or self._starts
        self._doubtful.clear()
        self.is_in_doubt, self.was_list_read = False, True


def _build_line_key(line: LogLine) -> _LineKey:
    rest = line.message_without_time
    return (
        hash(line.message),
        hash(line.timestamp) if line.timestamp else 0,
        hash(rest) if rest != line.message else 0,
    )


def _is_same_line(key: _LineKey, other_key: _LineKey) -> bool:
    """Whether two keys may be of one line; some servers' tails leave out times that lists have."""
    if key[0] == other_key[0]:
        return key[1] == other_key[1] or not key[1] or not other_key[1]
    return (key[2] != 0 and key[2] == other_key[0]) or (
        other_key[2] != 0 and other_key[2] == key[0]
    )
