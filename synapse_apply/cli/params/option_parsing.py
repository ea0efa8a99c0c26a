"""How option values are parsed, and which are usage errors."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from synapse_apply.model.values import SecretRef

REPORT_KINDS = ("json", "markdown", "html", "github", "gitlab", "codequality")
# Compiled where such a value was given.
_ENV_REFERENCE = r"""\{\s*["']?env["']?\s*:\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*\}"""
_LINEAGE_PATTERN = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


class NumberType(click.FloatRange):
    """A number in a range; `nan` is refused, though it compares as neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A usage error for everything else."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def parse_url_or_reference(
    _ctx: click.Context, _param: click.Parameter, value: str
) -> str | SecretRef:
    """A text as it is, or the reference `{env: NAME}`; a usage error for another text in braces."""
    if not value.lstrip().startswith("{"):
        return value
    env_match = re.fullmatch(_ENV_REFERENCE, value.strip())
    if env_match is None:
        raise click.BadParameter(
            "what is no url is `{env: NAME}`, with the name of a variable that holds one."
        )
    from synapse_apply.model.values import SecretRef

    return SecretRef("env", env_match[1])


def parse_lineage(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """A UUID in a state's form; a usage error for anything else."""
    if value and re.fullmatch(_LINEAGE_PATTERN, value) is None:
        raise click.BadParameter(f"{value!r} is not a UUID in lower-case letters and digits.")
    return value


def parse_report_options(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """(kind, file) pairs of `KIND=FILE`; a usage error for an unknown kind or a repeated file."""
    requests: list[tuple[str, str]] = []
    for text in texts:
        kind, separator, file = text.partition("=")
        if kind not in REPORT_KINDS:
            raise click.BadParameter(f"{kind!r} is no report: {', '.join(REPORT_KINDS)}.")
        # `github` needs no file: the runner names its files in the environment.
        if not file and (separator or kind != "github"):
            raise click.BadParameter(f"{kind}=FILE is wanted.")
        if file and file in [other_file for _, other_file in requests]:
            raise click.BadParameter(f"two reports cannot both go to {file}.")
        requests.append((kind, file))
    return tuple(requests)


def parse_name_values(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """Values by name, of `NAME=VALUE`; a usage error for any other form."""
    values: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise click.BadParameter(f"expected NAME=VALUE, not {name!r}.")
        values[name] = value
    return values


def require_guard_names(
    _ctx: click.Context, _param: click.Parameter, guard_names: tuple[str, ...]
) -> tuple[str, ...]:
    """A usage error for an unknown guard.

    Names of policy rules are checked later, in `PlanArguments`, where the policy is known.
    """
    if guard_names:
        from synapse_apply.operations.plan_arguments import describe_unknown_guard

        for name in guard_names:
            if description := describe_unknown_guard(name):
                raise click.BadParameter(description)
    return guard_names


def reject_lone_timeout(
    ctx: click.Context, _param: click.Parameter, timeout: float | None
) -> float | None:
    """A usage error for --timeout without --follow."""
    if timeout is not None and not ctx.params.get("follow"):
        raise click.UsageError("--timeout needs --follow.", ctx)
    return timeout
