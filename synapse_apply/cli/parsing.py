"""What options make of what was typed; usage errors for what cannot be meant."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from synapse_apply.model.values import SecretRef

KINDS_OF_REPORT = ("json", "markdown", "html", "github", "gitlab", "codequality")
_FROM_ENV = re.compile(r"""\{\s*["']?env["']?\s*:\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*\}""")
_LINEAGE = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class Number(click.FloatRange):
    """A number in a range; `nan` is in none, though it is neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A usage error for everything else."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def state_url(_ctx: click.Context, _param: click.Parameter, given: str) -> str | SecretRef:
    """A url, or where it comes from, as the project file says it; a usage error for all else."""
    if not given.lstrip().startswith("{"):
        return given
    named = _FROM_ENV.fullmatch(given.strip())
    if named is None:
        raise click.BadParameter(
            "what is no url is `{env: NAME}`, with the name of a variable that holds one."
        )
    from synapse_apply.model.values import SecretRef

    return SecretRef("env", named[1])


def lineage(_ctx: click.Context, _param: click.Parameter, given: str) -> str:
    """A UUID as a state has it, so that a project file can pin it; a usage error for all else."""
    if given and _LINEAGE.fullmatch(given) is None:
        raise click.BadParameter(f"{given!r} is no UUID in lower-case letters and digits.")
    return given


def reports(
    _ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Pairs of a kind and a file; a usage error for what cannot be meant."""
    asked: list[tuple[str, str]] = []
    for text in given:
        kind, equals, file = text.partition("=")
        if kind not in KINDS_OF_REPORT:
            raise click.BadParameter(f"{kind!r} is no report: {', '.join(KINDS_OF_REPORT)}.")
        if not file and (equals or kind != "github"):
            raise click.BadParameter(f"{kind}=FILE is wanted.")
        if file and file in [other for _, other in asked]:
            raise click.BadParameter(f"two reports cannot both go to {file}.")
        asked.append((kind, file))
    return tuple(asked)


def pairs(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (equals and name):
            raise click.BadParameter(f"NAME=VALUE is wanted, not {name!r}.")
        pairs[name] = value
    return pairs


def guards(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """A guard's name that is mistyped must not look as if it had been overridden.

    Which rules the policy has is known later: `Asked` looks at their names.
    """
    if given:
        from synapse_apply.model.policy import PREFIX
        from synapse_apply.planning.guards import NAMES

        for name in given:
            if name not in NAMES and not name.startswith(PREFIX):
                raise click.BadParameter(f"{name!r} is no guard; there are {', '.join(NAMES)}.")
    return given


def only_following(
    ctx: click.Context, _param: click.Parameter, given: float | None
) -> float | None:
    """What bounds the following means nothing without it."""
    if given is not None and not ctx.params.get("follow"):
        raise click.UsageError("--timeout needs --follow.", ctx)
    return given
