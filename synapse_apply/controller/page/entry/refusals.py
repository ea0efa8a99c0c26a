"""How a request is refused: with a status, and words for whoever sent it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from synapse_apply.model.diagnostic import Diagnostic, error_finding


class RequestRefused(Exception):
    """A request that is not done. `findings` say why, `headers` go with the answer."""

    def __init__(
        self, status: HTTPStatus, *findings: Diagnostic, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("; ".join(finding.summary for finding in findings))
        self.status = status
        self.findings = findings
        self.headers = headers or {}

    @classmethod
    def from_words(
        cls, status: HTTPStatus, summary: str, detail: str = "", hint: str = ""
    ) -> RequestRefused:
        """A refusal for one reason."""
        return cls(status, error_finding(summary, detail, hint))
