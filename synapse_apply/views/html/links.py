"""Where a page leads: a line of the repository, a commit, the run; only to an address of the run.

Without a known repository all of it stays text. No address comes from a manifest or a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen
from synapse_apply.views.findings import place
from synapse_apply.views.html.parts import code, text

# What may stand in an address that is no more than a place: no user, no query, no script.
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~%+/-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def anchor(address: str, html: str) -> str:
    """A link; the mere HTML where that is no address to lead to."""
    if not _ADDRESS.fullmatch(address):
        return html
    return f'<a href="{text(address)}" rel="noopener noreferrer">{html}</a>'


@frozen
class Links:
    """What is known of the forge that a page is made on.

    `repository` is its address, `separator` what stands there before `blob` and `commit`;
    `in_repository` gives a file's path from the top of the repository, None for one outside.
    """

    repository: str = ""
    separator: str = ""
    in_repository: Callable[[str], str | None] = lambda _file: None
    commit: str = ""

    def place(self, position: Position) -> str:
        """`file:line:column`, which leads to that line of the commit."""
        return self.line(position, code(place(position)))

    def line(self, position: Position | None, html: str) -> str:
        """HTML that leads to a line of the commit, where the repository has it."""
        path = self.in_repository(position.file) if position is not None else None
        if position is None or path is None or not self._has(self.commit):
            return html
        place_in = f"{self._base()}/blob/{self.commit}/{quote(path)}"
        if not _ADDRESS.fullmatch(place_in):
            return html
        at = f"{place_in}#L{position.line}"
        return f'<a href="{text(at)}" rel="noopener noreferrer">{html}</a>'

    def to_commit(self, commit: str) -> str:
        """The beginning of a commit's id, which leads to it; "" where there is none."""
        if not commit:
            return ""
        shown = code(commit[:12])
        return anchor(f"{self._base()}/commit/{commit}", shown) if self._has(commit) else shown

    def _has(self, commit: str) -> bool:
        return bool(self.repository and _COMMIT.fullmatch(commit))

    def _base(self) -> str:
        return f"{self.repository.rstrip('/')}{self.separator}"


NOWHERE = Links()
