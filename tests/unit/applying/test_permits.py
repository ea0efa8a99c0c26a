"""A permit whose first reason is final."""

from __future__ import annotations

from synapse_apply.applying.step import FinalPermit


class Scripted:
    """Gives these answers one after the other; an exception is raised."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)

    def explain_missing_or_empty(self) -> str:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_the_first_reason_stays() -> None:
    """Who asked for the apply is not asked again, though calls would be permitted once more."""
    scripted = Scripted("", "the window has closed", "")
    permit = FinalPermit(scripted)
    assert permit.explain_missing_or_empty() == ""
    assert permit.final_reason == ""
    assert permit.explain_missing_or_empty() == "the window has closed"
    assert permit.explain_missing_or_empty() == permit.final_reason == "the window has closed"
    assert scripted.answers == [""]


def test_a_permit_that_cannot_be_read_is_none() -> None:
    """Nothing begins; the text of the exception, which may be anything, is not told."""
    permit = FinalPermit(Scripted(OSError("s3cret")))
    reason = "the permit to continue could not be read (OSError)"
    assert permit.explain_missing_or_empty() == reason


def test_without_a_permit_every_call_may_begin() -> None:
    """As on the command line."""
    assert FinalPermit().explain_missing_or_empty() == ""
