"""What was found when a target was looked at from all sides: a row for each thing looked at."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Self

from synapse_apply.model.command import WithCommands
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen


class CheckStatus(Enum):
    """How one check ended. UNCHECKED: what it needs was not there, which has a row of its own."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNCHECKED = "not checked"


@frozen
class CheckResult(WithCommands):
    """One thing that was looked at.

    `check` names it, `subject` which of several (an agent's name). `summary` is one line; `detail`
    and `hint` are those of a finding. `findings` are what a command that stops for it tells.
    """

    TEXT_FIELDS = ("summary", "detail", "hint", "findings")

    check: str
    status: CheckStatus
    summary: str
    detail: str = ""
    hint: str = ""
    subject: str = ""
    findings: tuple[Diagnostic, ...] = ()

    @classmethod
    def build_ok(cls, check: str, summary: str, subject: str = "") -> Self:
        """It is as it should be."""
        return cls(check, CheckStatus.OK, summary, subject=subject)

    @classmethod
    def build_unchecked(cls, check: str, reason: str, subject: str = "") -> Self:
        """It could not be looked at."""
        return cls(check, CheckStatus.UNCHECKED, reason, subject=subject)

    @classmethod
    def from_finding(
        cls,
        check: str,
        finding: Diagnostic,
        subject: str = "",
        *,
        counted_findings: tuple[Diagnostic, ...] = (),
    ) -> Self:
        """A warning or a problem; `counted_findings` are the findings that this one only counts."""
        status = CheckStatus.PROBLEM if finding.is_error else CheckStatus.WARNING
        position_text = f" ({finding.position})" if finding.position else ""
        return cls(
            check,
            status,
            f"{finding.summary}{position_text}",
            finding.detail,
            finding.hint,
            subject,
            counted_findings or (finding,),
        )

    @property
    def first_request_id(self) -> str:
        return next((finding.request_id for finding in self.findings if finding.request_id), "")


@frozen
class Checkup(WithCommands):
    """Everything that was looked at, by section, in the order of looking."""

    TEXT_FIELDS = ("sections",)

    target: str
    sections: tuple[tuple[str, tuple[CheckResult, ...]], ...]

    @property
    def results(self) -> Iterator[CheckResult]:
        for _, rows in self.sections:
            yield from rows

    def count_results(self, status: CheckStatus) -> int:
        """How many rows ended so."""
        return sum(row.status is status for row in self.results)

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """Every problem and warning, as a command that stops for them tells them."""
        return tuple(finding for row in self.results for finding in row.findings)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong; warnings are not."""
        return not self.count_results(CheckStatus.PROBLEM)

    @property
    def exit_code(self) -> int:
        return Exit.OK if self.is_healthy else Exit.ERROR
