"""Parameter types of moments, time spans, JSON and job statuses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import click

from synapse_apply.cli.params.any_type import AnyParamType
from synapse_apply.model.coding.json_types import JsonValue

if TYPE_CHECKING:
    from synapse_apply.model.job import JobStatus

_TIME_SPAN = re.compile(r"(\d{1,6})([wdhms])")
_SECONDS_BY_UNIT = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}


def parse_time_span(text: str) -> timedelta:
    """A span such as `7d` or `1d12h`; ValueError for anything else, and for no time at all."""
    parts = _TIME_SPAN.findall(text)
    seconds = sum(int(number) * _SECONDS_BY_UNIT[unit] for number, unit in parts)
    if not seconds or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no time span")
    return timedelta(seconds=seconds)


def parse_moment(text: str, now: datetime) -> datetime:
    """A date, a time, or a span before `now`, as a time in UTC; ValueError for anything else.

    A date or time without a zone is in this machine's zone.
    """
    parts = _TIME_SPAN.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        seconds_back = sum(int(number) * _SECONDS_BY_UNIT[unit] for number, unit in parts)
        return now.astimezone(UTC) - timedelta(seconds=seconds_back)
    return datetime.fromisoformat(text).astimezone(UTC)


class MomentType(AnyParamType):
    """`2026-11-24`, `2026-11-24T10:30:00Z`, or a span such as `7d`, `12h`, `1d12h`."""

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """A usage error for any other text."""
        try:
            return value if isinstance(value, datetime) else parse_moment(value, datetime.now(UTC))
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is not a date (2026-11-24, 2026-11-24T10:30:00Z) or a "
                "span (7d, 12h, 30m, 1d12h).",
                param,
                ctx,
            )


class TimeSpanType(AnyParamType):
    """A span such as `7d`, `12h`, `1d12h`."""

    name = "span"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """A usage error for any other text."""
        try:
            return value if isinstance(value, timedelta) else parse_time_span(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a span (7d, 12h, 30m, 1d12h).", param, ctx)


class DateTimeType(AnyParamType):
    """`2026-11-24` or `2026-11-24T10:30:00Z`; without a zone in that of this machine."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """A usage error for any other text."""
        try:
            return (
                value
                if isinstance(value, datetime)
                else datetime.fromisoformat(value).astimezone(UTC)
            )
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is not a date (2026-11-24, 2026-11-24T10:30:00Z).", param, ctx)


class JsonType(AnyParamType):
    """Any JSON value."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A usage error for what is not JSON."""
        try:
            return _parse_json(value)
        except (ValueError, RecursionError) as problem:
            self.fail(f"this is not JSON: {problem}.", param, ctx)


class StatusType(AnyParamType):
    """A job's status in the words of the API page or of the platform."""

    name = "status"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> JobStatus:
        """A usage error that lists the known words for an unknown one."""
        from synapse_apply.model.job import JobStatus, parse_job_status

        job_status = parse_job_status(value)
        if job_status is JobStatus.UNKNOWN:
            self.fail(
                f"{value!r} is none of queued (or pending), running, completed (or succeeded), "
                "failed, stopped.",
                param,
                ctx,
            )
        return job_status


MOMENT, JSON, STATUS = MomentType(), JsonType(), StatusType()
TIME_SPAN, DATE_TIME = TimeSpanType(), DateTimeType()


def parse_json_or_text(text: str) -> JsonValue:
    """The JSON value of the text, or the text itself where it is not JSON."""
    try:
        return _parse_json(text)
    except (ValueError, RecursionError):
        return text


def parse_key_value_options(
    _ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, Any]:
    """`KEY=VALUE` options as a mapping; a usage error for a repeated key."""
    parsed_values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise click.BadParameter(f"expected KEY=VALUE, not {text!r}.", param=param)
        if name in parsed_values:
            raise click.BadParameter(f"{name!r} is given twice.", param=param)
        parsed_values[name] = parse_json_or_text(value)
    return parsed_values


def require_json_object(value: Any, option: str) -> Mapping[str, Any] | None:
    """A JSON object, or None where the option was not given; a usage error for other values."""
    if value is None or isinstance(value, Mapping):
        return value
    raise click.UsageError(f"{option} takes a JSON object, such as '{{\"step\": 2}}'.")


def _parse_json(text: str) -> JsonValue:
    # Python accepts NaN and Infinity, which are not JSON (RFC 8259) and servers refuse.
    return json.loads(text, parse_constant=_reject_json_constant, parse_float=_parse_finite_number)


def _parse_finite_number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _reject_json_constant(text)


def _reject_json_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
