"""What options make of what was typed; usage errors for what cannot be meant."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from synapse_apply.model.values import SecretRef

REPORT_KINDS = ("json", "markdown", "html", "github", "gitlab", "codequality")
_ENV_REFERENCE = re.compile(r"""\{\s*["']?env["']?\s*:\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*\}""")
_LINEAGE_PATTERN = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class NumberType(click.FloatRange):
    """A number in a range; `nan` is in none, though it is neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A usage error for everything else."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def parse_state_url_option(
    _ctx: click.Context, _param: click.Parameter, value: str
) -> str | SecretRef:
    """A url, or where it comes from, as the project file says it; a usage error for all else."""
    if not value.lstrip().startswith("{"):
        return value
    env_match = _ENV_REFERENCE.fullmatch(value.strip())
    if env_match is None:
        raise click.BadParameter(
            "what is no url is `{env: NAME}`, with the name of a variable that holds one."
        )
    from synapse_apply.model.values import SecretRef

    return SecretRef("env", env_match[1])


def parse_lineage_option(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """A UUID as a state has it, so that a project file can pin it; a usage error for all else."""
    if value and _LINEAGE_PATTERN.fullmatch(value) is None:
        raise click.BadParameter(f"{value!r} is not a UUID in lower-case letters and digits.")
    return value


def parse_report_options(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Pairs of a kind and a file; a usage error for what cannot be meant."""
    requests: list[tuple[str, str]] = []
    for text in texts:
        kind, separator, file = text.partition("=")
        if kind not in REPORT_KINDS:
            raise click.BadParameter(f"{kind!r} is no report: {', '.join(REPORT_KINDS)}.")
        if not file and (separator or kind != "github"):
            raise click.BadParameter(f"{kind}=FILE is wanted.")
        if file and file in [other_file for _, other_file in requests]:
            raise click.BadParameter(f"two reports cannot both go to {file}.")
        requests.append((kind, file))
    return tuple(requests)


def parse_name_value_options(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise click.BadParameter(f"expected NAME=VALUE, not {name!r}.")
        values[name] = value
    return values


def check_guard_names(
    _ctx: click.Context, _param: click.Parameter, guard_names: tuple[str, ...]
) -> tuple[str, ...]:
    """A guard's name that is mistyped must not look as if it had been overridden.

    Which rules the policy has is known later: `Asked` looks at their names.
    """
    if guard_names:
        from synapse_apply.model.policy import RULE_ID_PREFIX
        from synapse_apply.planning.guards import GUARD_NAMES

        for name in guard_names:
            if name not in GUARD_NAMES and not name.startswith(RULE_ID_PREFIX):
                raise click.BadParameter(
                    f"{name!r} is not a guard; the guards are {', '.join(GUARD_NAMES)}."
                )
    return guard_names


def require_follow_option(
    ctx: click.Context, _param: click.Parameter, value: float | None
) -> float | None:
    """What bounds the following means nothing without it."""
    if value is not None and not ctx.params.get("follow"):
        raise click.UsageError("--timeout needs --follow.", ctx)
    return value
