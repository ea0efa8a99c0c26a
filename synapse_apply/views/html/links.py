"""Which links a page has: to lines and commits of the known repository, and to the CI run.

Without a known repository all stays text. No URL comes from a manifest or a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen
from synapse_apply.views.html.parts import cut_and_escape, render_code
from synapse_apply.views.text.findings import format_position

# A URL with host and path only: no user, no query, no script.
_SAFE_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~%+/-]*)?")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def render_anchor(url: str, html: str) -> str:
    """A link around `html`; `html` alone where the URL is not a safe http one."""
    if not _SAFE_URL.fullmatch(url):
        return html
    return f'<a href="{cut_and_escape(url)}" rel="noopener noreferrer">{html}</a>'


# A page leads where the pipeline runs, and nowhere else: the forge's address is of the run's
# environment, file names are quoted, and all else is text.
@frozen
class ForgeLinks:
    """What is known of the forge (GitHub, GitLab) that the page is made on.

    `repository` is the repository's URL, `separator` the path before `blob` and `commit`;
    `path_in_repository` gives a file's path inside the repository, None for one outside.
    """

    repository: str = ""
    separator: str = ""
    path_in_repository: Callable[[str], str | None] = lambda _file: None
    commit: str = ""

    def render_position(self, position: Position) -> str:
        """`file:line:column` as code, linked to that line of the commit where possible."""
        return self.link_to_line(position, render_code(format_position(position)))

    def link_to_line(self, position: Position | None, html: str) -> str:
        """`html` linked to a line of the commit; unchanged where there is no safe link."""
        path = self.path_in_repository(position.file) if position is not None else None
        if position is None or path is None or not self._is_linkable(self.commit):
            return html
        file_url = f"{self._repository_url()}/blob/{self.commit}/{quote(path)}"
        # A file's name may contain anything, even after quoting.
        if not _SAFE_URL.fullmatch(file_url):
            return html
        # The fragment is added after the check, since the pattern allows none.
        line_url = f"{file_url}#L{position.line}"
        return f'<a href="{cut_and_escape(line_url)}" rel="noopener noreferrer">{html}</a>'

    def render_short_commit(self, commit: str) -> str:
        """The first 12 digits of a commit, linked where possible; "" for no commit."""
        if not commit:
            return ""
        commit_html = render_code(commit[:12])
        return (
            render_anchor(f"{self._repository_url()}/commit/{commit}", commit_html)
            if self._is_linkable(commit)
            else commit_html
        )

    def _is_linkable(self, commit: str) -> bool:
        # The commit may come from a saved plan, which could hold another text.
        return bool(self.repository and _COMMIT_ID.fullmatch(commit))

    def _repository_url(self) -> str:
        return f"{self.repository.rstrip('/')}{self.separator}"


NO_LINKS = ForgeLinks()
