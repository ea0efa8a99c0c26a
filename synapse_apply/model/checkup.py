"""What was found when a target was looked at from all sides: a row for each thing looked at."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Self

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen


class Verdict(Enum):
    """How one check ended. UNCHECKED: what it needs was not there, which has a row of its own."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNCHECKED = "not checked"


@frozen
class Row:
    """One thing that was looked at.

    `check` names it, `subject` which of several (an agent's name). `summary` is one line; `detail`
    and `hint` are those of a finding. `findings` are what a command that stops for it tells.
    """

    check: str
    verdict: Verdict
    summary: str
    detail: str = ""
    hint: str = ""
    subject: str = ""
    findings: tuple[Diagnostic, ...] = ()

    @classmethod
    def ok(cls, check: str, summary: str, subject: str = "") -> Self:
        """It is as it should be."""
        return cls(check, Verdict.OK, summary, subject=subject)

    @classmethod
    def unchecked(cls, check: str, why: str, subject: str = "") -> Self:
        """It could not be looked at."""
        return cls(check, Verdict.UNCHECKED, why, subject=subject)

    @classmethod
    def of(
        cls,
        check: str,
        finding: Diagnostic,
        subject: str = "",
        *,
        behind: tuple[Diagnostic, ...] = (),
    ) -> Self:
        """A warning or a problem; `behind` are the findings that this one only counts."""
        verdict = Verdict.PROBLEM if finding.is_error else Verdict.WARNING
        place = f" ({finding.position})" if finding.position else ""
        return cls(
            check,
            verdict,
            f"{finding.summary}{place}",
            finding.detail,
            finding.hint,
            subject,
            behind or (finding,),
        )

    @property
    def request_id(self) -> str:
        return next((found.request_id for found in self.findings if found.request_id), "")


@frozen
class Checkup:
    """Everything that was looked at, by section, in the order of looking."""

    target: str
    sections: tuple[tuple[str, tuple[Row, ...]], ...]

    @property
    def rows(self) -> Iterator[Row]:
        for _, rows in self.sections:
            yield from rows

    def count(self, verdict: Verdict) -> int:
        """How many rows ended so."""
        return sum(row.verdict is verdict for row in self.rows)

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """Every problem and warning, as a command that stops for them tells them."""
        return tuple(found for row in self.rows for found in row.findings)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong; warnings are not."""
        return not self.count(Verdict.PROBLEM)

    @property
    def exit_code(self) -> int:
        return Exit.OK if self.is_well else Exit.ERROR
