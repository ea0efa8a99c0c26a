"""Which lines of a log that is read again are new, so that none is shown twice or left out.

A log only grows, and its list begins with the first line. So the lines that were shown are counted,
and as many are skipped; the last of them tells whether the server has inserted others before it.
"""

from __future__ import annotations

from synapse_apply.model.remote.log_lines import LogLine


class ShownLines:
    """The lines shown so far: their number, and the last one for comparison."""

    def __init__(self) -> None:
        """No line was shown yet."""
        self.count = 0
        self.last_line: LogLine | None = None

    def add_line(self, line: LogLine) -> None:
        self.count += 1
        self.last_line = line


class LogListing:
    """One reading of the whole list.

    `has_gap` says that lines before the last known one are new, so some were missed before.
    """

    def __init__(self, shown_lines: ShownLines) -> None:
        """To be created for each reading of the list."""
        self._last_position = shown_lines.count - 1
        self._last_line = shown_lines.last_line
        self._number = 0
        self._has_joined = shown_lines.count == 0
        self.has_gap = False

    @property
    def has_fewer_lines_than_shown(self) -> bool:
        """Whether the list, once it was read to its end, had fewer lines than were shown."""
        return not (self._has_joined or self.has_gap)

    def advance_and_tell_if_new(self, line: LogLine) -> bool:
        """Whether the next line of the list is new, and to be shown."""
        if self._has_joined:
            return True
        if self._number >= self._last_position:
            # This should be the last known line; if it is not, lines were inserted before that one.
            self._has_joined = line == self._last_line
            self.has_gap = self.has_gap or not self._has_joined
        self._number += 1
        return False
