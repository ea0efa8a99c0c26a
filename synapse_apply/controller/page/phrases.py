"""In which words, colours, signs and small drawings pages show conditions, counts and times."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple, TypeVar

from markupsafe import Markup, escape

from synapse_apply.controller.planned_rows import RowAction, RowCause
from synapse_apply.controller.rows import (
    CallCounts,
    ChangeCounts,
    RunCause,
    RunOutcome,
    TargetCondition,
    TargetRow,
    say,
)
from synapse_apply.controller.settings import Mode
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.terminal import measure_width

E = TypeVar("E", bound=Enum)
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# Digests of rows have 64 hex digits, ids of commits 40 or 64.
_LONG_DIGITS = re.compile(r"\b([0-9a-f]{12})(?:[0-9a-f]{28}|[0-9a-f]{52})\b")
_DISTANT_PAST, _DISTANT_FUTURE = 0.0, 253_402_300_799.0  # what datetime can show


class Style(NamedTuple):
    """How a state is shown; `tone` is a class of controller.css, `meaning` one sentence.

    `meaning_of_many` is that sentence for targets that are shown together.
    """

    word: str
    tone: str
    sign: str
    meaning: str
    meaning_of_many: str = ""


def styles_of(rows: Mapping[E, tuple[str, ...]]) -> Mapping[E, Style]:
    """The styles of states, by what else than their word a style has."""
    return {state: Style(say(state.value), *row) for state, row in rows.items()}


CONDITION_STYLES = styles_of(
    {
        TargetCondition.FAILING: (
            "bad",
            "✗",
            "The last run failed. The findings show why.",
            "The last runs of these targets failed.",
        ),
        TargetCondition.UNKNOWN: (
            "bad",
            "?",
            "It is unknown whether a call had an effect. Settle it.",
            "It is unknown whether calls had an effect. Settle them.",
        ),
        TargetCondition.REFUSED: (
            "bad",
            "!",
            "The plan has rows that cannot be applied, or a guard stops it.",
            "Their plans have rows that cannot be applied, or guards stop them.",
        ),
        TargetCondition.HELD: (
            "moved",
            "=",
            "Rows of the plan need approval.",
            "Rows of their plans need approval.",
        ),
        TargetCondition.PAUSED: (
            "moved",
            "‖",
            "The target has pending changes, and is paused.",
            "The targets have pending changes, and are paused.",
        ),
        TargetCondition.WAITING: (
            "git",
            "…",
            "The controller applies the changes later. The reason shows when.",
        ),
        TargetCondition.ROLLED_BACK: (
            "moved",
            "↶",
            "A person has rolled it back: it stays there until a commit changes it.",
            "People have rolled these targets back.",
        ),
        TargetCondition.DRIFTED: ("moved", "≠", "Live objects differ from what was last applied."),
        TargetCondition.PENDING: ("git", "→", "Git has changes that are not live."),
        TargetCondition.IN_SYNC: ("good", "✓", "The live objects are what Git declares."),
        TargetCondition.NOT_LOOKED_AT: (
            "quiet",
            "·",
            "The controller has not checked the target yet.",
        ),
    }
)
NEEDS_REPAIR = frozenset(
    {TargetCondition.FAILING, TargetCondition.UNKNOWN, TargetCondition.REFUSED}
)
NEEDS_PERSON = NEEDS_REPAIR | {
    TargetCondition.HELD,
    TargetCondition.PAUSED,
    TargetCondition.ROLLED_BACK,
}
OUTCOME_PHRASES = {
    RunOutcome.IN_SYNC: "in sync",
    RunOutcome.CHANGES: "changes",
    RunOutcome.PLAN_ERROR: "planning failed",
    RunOutcome.TIMEOUT: "timed out",
    RunOutcome.WORKER_LOST: "worker lost",
    RunOutcome.APPLIED: "applied",
    RunOutcome.APPLY_FAILED: "apply failed",
    RunOutcome.APPLY_STOPPED: "apply stopped early",
}
# The class of controller.css for each.
OUTCOME_TONES = {
    outcome: "bad"
    if outcome.is_failure
    else "good"
    if outcome in {RunOutcome.IN_SYNC, RunOutcome.APPLIED}
    else "moved"
    for outcome in RunOutcome
}
CAUSE_PHRASES = {
    RunCause.PUSH: "a push",
    RunCause.INTERVAL: "the interval",
    RunCause.RETRY: "a retry after a failure",
    RunCause.ASKED: "a request",
    RunCause.APPROVED: "an approval",
    RunCause.RESUMED: "the end of a pause, a window, or a new controller.yaml",
    RunCause.APPLIED: "an apply",
}
MODE_PHRASES = {
    Mode.OBSERVE: "observe (applies nothing by itself)",
    Mode.AUTO: "auto (applies what its rule allows)",
    Mode.APPROVE: "approve (applies what people approve)",
}
ACTION_PHRASES = {
    RowAction.CREATE: "create",
    RowAction.ADOPT: "adopt",
    RowAction.UPDATE: "update",
    RowAction.REPLACE: "replace the package",
    RowAction.RECREATE: "create again",
    RowAction.DELETE: "delete",
    RowAction.FORGET: "forget",
    RowAction.VERIFY: "verify",
    RowAction.GUARD: "guard",
}
ROW_CAUSE_PHRASES = {RowCause.GIT: "Git", RowCause.DRIFT: "drift", RowCause.SECRET: "a secret"}


def format_change_counts(counts: ChangeCounts) -> str:
    """The rows of a plan in words ("2 to add, 1 refused"); "" for none."""
    words = {
        "refused": counts.refused,
        "to import": counts.import_,
        "to add": counts.add,
        "to change": counts.change,
        "to destroy": counts.destroy,
        "to forget": counts.forget,
    }
    guards = [format_count_and_noun(counts.guards, "guard")] if counts.guards else []
    return ", ".join([*(f"{count:,} {word}" for word, count in words.items() if count), *guards])


def format_call_counts(calls: CallCounts) -> str:
    """What became of the rows of an apply ("3 done, 1 failed"); "" for none."""
    counts = ((getattr(calls, word), word) for word in ("done", "failed", "unknown", "skipped"))
    return ", ".join(f"{count:,} {word}" for count, word in counts if count)


def format_duration(seconds: float) -> str:
    """A time span in its largest unit, such as "3 h"."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size):,} {unit}"
    return "less than 1 s"


def format_time_distance(when: float, now: float) -> str:
    """How long ago it was ("3 h ago"), or how far ahead it is ("in 5 min"); "never" for 0."""
    if not when:
        return "never"
    if abs(now - when) < 1:
        return "now"
    distance = format_duration(abs(now - when))
    return f"{distance} ago" if when <= now else f"in {distance}"


def format_utc(when: float) -> str:
    """A time for `<time datetime>` and titles: `2026-11-27T06:51:04Z`."""
    clamped = min(max(when, _DISTANT_PAST), _DISTANT_FUTURE)
    return datetime.fromtimestamp(clamped, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shorten_digests(text: str) -> str:
    """A text with digests of rows, and ids of commits, by their first 12 digits."""
    return _LONG_DIGITS.sub(r"\1", text)


def format_identity_as_name(identity: str) -> str:
    """The name of an identity (`proxy:ann`); one of a program says that it is one."""
    kind, _, name = identity.partition(":")
    return f"{name} (token)" if kind == "token" else name or identity


def strip_email_address(author: str) -> str:
    """The name of an author without the address (`Mina Park <mina@acme.example>`)."""
    return author.partition(" <")[0] or author


SPARK_RUNS = 16
_SPARK_HEIGHT, _STEP, _BAR_WIDTH = 16, 5, 3
_BAR_HEIGHTS = {"good": 6, "moved": 11, "bad": 16}
_BAR_WIDTH_IN_ALL = 1000
_LEAST_WIDTH = 4  # so that one failing target of 10,000 is seen


def draw_spark_line(outcomes: Sequence[RunOutcome], *, in_column: bool = True) -> Markup:
    """A bar a run, oldest first; low where it was in sync, full where it failed.

    With `in_column` the newest runs of all targets stand below each other.
    """
    if not outcomes:
        return mark_escaped_html("")
    newest_outcomes = outcomes[-SPARK_RUNS:]
    first_x = (SPARK_RUNS - len(newest_outcomes)) * _STEP if in_column else 0
    paths: dict[str, list[str]] = {}
    for index, outcome in enumerate(newest_outcomes):
        tone = OUTCOME_TONES[outcome]
        height = _BAR_HEIGHTS[tone]
        x = first_x + index * _STEP
        move = f"M{x} {_SPARK_HEIGHT}v-{height}h{_BAR_WIDTH}v{height}z"
        paths.setdefault(tone, []).append(move)
    drawn = "".join(f'<path class="{tone}" d="{"".join(ds)}"/>' for tone, ds in paths.items())
    width = SPARK_RUNS * _STEP
    counts = {outcome: newest_outcomes.count(outcome) for outcome in RunOutcome}
    words = ", ".join(f"{n} {OUTCOME_PHRASES[outcome]}" for outcome, n in counts.items() if n)
    label = f"Last runs: {words}"
    return mark_escaped_html(
        f'<svg class="spark" role="img" aria-label="{label}" width="{width}" '
        f'height="{_SPARK_HEIGHT}" viewBox="0 0 {width} {_SPARK_HEIGHT}">{drawn}</svg>'
    )


def draw_condition_bar(counts: Mapping[TargetCondition, int]) -> Markup:
    """All targets as one bar, a part for each condition in its colour; "" for no targets."""
    total = sum(counts.values())
    if not total:
        return mark_escaped_html("")
    shares = [(c, counts.get(c, 0)) for c in TargetCondition if counts.get(c, 0)]
    free_width = _BAR_WIDTH_IN_ALL - _LEAST_WIDTH * len(shares)
    x = 0.0
    parts = []
    for condition, count in shares:
        style = CONDITION_STYLES[condition]
        width = _LEAST_WIDTH + free_width * count / total
        parts.append(f'<rect class="{style.tone}" x="{x:.1f}" width="{width:.1f}" height="10"/>')
        x += width
    return mark_escaped_html(
        f'<svg class="shares" aria-hidden="true" preserveAspectRatio="none" '
        f'viewBox="0 0 {_BAR_WIDTH_IN_ALL} 10">{"".join(parts)}</svg>'
    )


# Dark enough for white letters (contrast of 4.5 and more).
_COLORS = {
    "good": "#1b7837",
    "bad": "#b1241c",
    "moved": "#8a5a00",
    "git": "#0b57b8",
    "quiet": "#5a6372",
}
# Widths of letters in pixels, at 11 px of a font like Verdana, where they are not as most.
_WIDTHS = {**dict.fromkeys("fijlrtI.,:;'|!()[]/ -", 4.4), **dict.fromkeys("mwMW@%", 10.5)}
_LETTER_WIDTH, _PADDING = 7.0, 7
# As long as SOURCE/TARGET can be.
_MAX_NAME = 130


def draw_badge(target: TargetRow | None, label: str) -> str:
    """The badge of a target; "unknown" for none."""
    style = CONDITION_STYLES[target.state if target else TargetCondition.NOT_LOOKED_AT]
    word = style.word if target else "unknown"
    name = sanitize(label[:_MAX_NAME])
    name_width, word_width = (
        round(sum(_WIDTHS.get(c) or _LETTER_WIDTH * max(1, measure_width(c)) for c in text))
        + 2 * _PADDING
        for text in (name, word)
    )
    width = name_width + word_width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" '
        f'viewBox="0 0 {width} 20" role="img" '
        f'aria-label="{escape(name)}: {word}"><title>{escape(name)}: {word}</title>'
        f'<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{name_width}" height="20" fill="#3a414d"/>'
        f'<rect x="{name_width}" width="{word_width}" height="20" fill="{_COLORS[style.tone]}"/>'
        '</g><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        f'text-anchor="middle"><text x="{name_width / 2:g}" y="14">{escape(name)}</text>'
        f'<text x="{name_width + word_width / 2:g}" y="14">{word}</text>'
        "</g></svg>\n"
    )


def draw_icon(tone: str) -> str:
    """The icon of the page's tab, in the colour of the whole."""
    color = _COLORS.get(tone, _COLORS["quiet"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
        f'<path d="M8 1l7 7-7 7-7-7z" fill="{color}"/></svg>\n'
    )


def mark_escaped_html(html: str) -> Markup:
    """HTML of views/html, the charts or our own files, in which all foreign text is escaped."""
    return Markup(html)  # noqa: S704 - what it is for; tests stuff every value with markup
