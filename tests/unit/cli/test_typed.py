"""Times, spans and values as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from synapse_apply.cli import typed
from synapse_apply.model.job import JobStatus

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-03T04:05:06Z", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-02-03T04:05:06+09:00", datetime(2026, 2, 2, 19, 5, 6, tzinfo=UTC)),
        ("2026-02-03", datetime(2026, 2, 3).astimezone(UTC)),
        ("2026-02-03 04:05", datetime(2026, 2, 3, 4, 5).astimezone(UTC)),
    ],
)
def test_dates_and_times(text: str, moment: datetime) -> None:
    """Without a zone they are of this machine."""
    found = typed.parse_moment(text, NOW.astimezone(timezone(timedelta(hours=9))))
    assert found == moment
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    ["", "7", "d", "7d!", "7 d", "-7d", "7y", "soon", "2026-13-01", "d7", "9999999d", "999999w"],
)
def test_what_is_no_time(text: str) -> None:
    """A usage error that shows both forms."""
    with pytest.raises(click.BadParameter, match="7d, 12h"):
        typed.MOMENT.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("0.5", 0.5), ("true", True), ("null", None), ('"1"', "1"), ("[1]", [1]),
        ('{"a": 1}', {"a": 1}), ("", ""), ("a b", "a b"), ("007", "007"), ("NaN", "NaN"),
        ("-Infinity", "-Infinity"), ("{a", "{a"), ("True", "True"), ("1e400", "1e400"), (" 1 ", 1),
    ],
)  # fmt: skip
def test_values(text: str, value: object) -> None:
    """JSON where it is JSON that can be sent, else the text."""
    assert typed.parse_json_or_text(text) == value


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", JobStatus.QUEUED),
        ("Pending", JobStatus.QUEUED),
        ("RUNNING", JobStatus.RUNNING),
        ("succeeded", JobStatus.COMPLETED),
        ("COMPLETED", JobStatus.COMPLETED),
        ("failed", JobStatus.FAILED),
        ("STOPPED", JobStatus.STOPPED),
    ],
)
def test_words_for_a_status(word: str, status: JobStatus) -> None:
    """Of both vocabularies, in any case."""
    assert typed.STATUS.convert(word, None, None) is status


def test_a_word_that_is_no_status() -> None:
    """A usage error that names them all; `unknown` is no status one can ask for."""
    for word in ("odd", "unknown", ""):
        with pytest.raises(click.BadParameter, match=r"queued \(or pending\)"):
            typed.STATUS.convert(word, None, None)
