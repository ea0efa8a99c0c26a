"""How the results of `doctor` are shown as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.report import CheckResult, CheckStatus, Checkup
from synapse_apply.views.sanitize import escape_ci_commands, sanitize, sanitize_plan_lines
from synapse_apply.views.text.findings import indent_lines
from synapse_apply.views.text.terminal import (
    MAX_COLUMN_WIDTH,
    Style,
    measure_width,
    pad_to_width,
)

_STATUS_STYLES = {
    CheckStatus.OK: "done",
    CheckStatus.WARNING: "warning",
    CheckStatus.PROBLEM: "error",
    CheckStatus.UNCHECKED: "dim",
}
_GAP = "  "
_MIN_JOINED = 3


def render_checkup(checkup: Checkup, *, color: bool) -> str:
    """The checks by section, one line each with details below, and a last line of counts."""
    style = Style(color)
    status_width = max(measure_width(status.value) for status in CheckStatus)
    name_width = _name_width(checkup.results)
    lines: list[str] = []
    for title, results in checkup.sections:
        lines.append(style(sanitize(title), "bold"))
        for result in _join_unchecked(results):
            lines += _result_lines(result, status_width, name_width, style)
        lines.append("")
    problems, warnings, unchecked = (
        checkup.count_results(status)
        for status in (CheckStatus.PROBLEM, CheckStatus.WARNING, CheckStatus.UNCHECKED)
    )
    parts = [format_count_and_noun(problems, "problem")] if problems else []
    parts += [format_count_and_noun(warnings, "warning")] if warnings else []
    parts += [f"{unchecked} not checked"] if unchecked else []
    counts_text = f" ({', '.join(parts)})" if parts else ""
    totals = f"{', '.join(parts)}." if problems else f"No problems found{counts_text}."
    lines.append(style(totals, "error" if problems else "done"))
    return escape_ci_commands("\n".join(lines) + "\n")


def _name_width(results: Iterable[CheckResult]) -> int:
    widths = (measure_width(sanitize(result.check)) for result in results)
    return min(max(widths, default=0), MAX_COLUMN_WIDTH)


def _join_unchecked(results: Iterable[CheckResult]) -> Iterator[CheckResult]:
    """The results, with three or more neighbours unchecked for the same reason joined to one."""
    for (status, reason), group in groupby(results, lambda result: (result.status, result.summary)):
        similar_results = list(group)
        if status is not CheckStatus.UNCHECKED or len(similar_results) < _MIN_JOINED:
            yield from similar_results
        else:
            check_names = ", ".join(dict.fromkeys(result.check for result in similar_results))
            yield CheckResult.build_unchecked(
                f"{len(similar_results)} checks", f"{reason}: {check_names}"
            )


def _result_lines(
    result: CheckResult, status_width: int, name_width: int, style: Style
) -> Iterator[str]:
    status_text = style(
        pad_to_width(result.status.value, status_width), _STATUS_STYLES[result.status]
    )
    name = pad_to_width(sanitize(result.check), name_width)
    subject = f"{result.subject}: " if result.subject else ""
    yield f"{_GAP}{status_text}{_GAP}{name}{_GAP}{sanitize(subject + result.summary)}".rstrip()
    detail_indent = status_width + name_width + 3 * len(_GAP)
    yield from indent_lines(result.detail, detail_indent)
    if result.hint:
        first_line, *continuation = sanitize_plan_lines(result.hint)
        yield f"{' ' * detail_indent}Hint: {first_line}"
        yield from (f"{' ' * detail_indent}      {line}".rstrip() for line in continuation)
    if result.first_request_id and result.first_request_id not in result.detail:
        yield " " * detail_indent + style(f"Request id: {sanitize(result.first_request_id)}", "dim")
