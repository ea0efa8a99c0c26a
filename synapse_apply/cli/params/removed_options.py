"""Options of earlier versions: a removed one is a usage error, a renamed one warns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def add_removed_option(name: str, advice: str) -> Callable[[Any], Any]:
    """A hidden option that ends the command with exit code 64; `advice` is the message.

    It may be given with a value or without one.
    """

    def raise_advice_if_given(
        ctx: click.Context, _param: click.Parameter, value: str | None
    ) -> None:
        if value is not None:
            raise click.UsageError(advice, ctx)

    # Eager, so that nothing else that is wrong with the command line hides the advice.
    return click.option(
        name,
        is_flag=False,
        flag_value="",
        is_eager=True,
        hidden=True,
        expose_value=False,
        callback=raise_advice_if_given,
    )


def add_old_option(old_name: str, new_name: str, **settings: Any) -> Callable[[Any], Any]:
    """A hidden option that works as before, for one more version, and warns on stderr."""

    def warn(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value:
            click.echo(
                f"Warning: `{old_name}` is now `{new_name}`\n"
                "  The old name will be removed in the next version.\n",
                err=True,
            )
        return value

    return click.option(old_name, hidden=True, callback=warn, **settings)


def add_preflight_option(command_name: str) -> Callable[[Any], Any]:
    """The removed --preflight of plan, apply and drift."""
    return add_removed_option(
        "--preflight",
        f"{command_name} has no --preflight: run `doctor` before it. It makes the same checks and "
        "exits with 1 where one finds a problem.",
    )
