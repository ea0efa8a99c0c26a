"""Options of earlier versions: each is a usage error that names its replacement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def add_removed_option(name: str, advice: str) -> Callable[[Any], Any]:
    """A hidden flag that ends the command with exit code 64; `advice` is the message."""

    def reject(ctx: click.Context, _param: click.Parameter, is_given: bool) -> None:
        if is_given:
            raise click.UsageError(advice, ctx)

    # Eager, so that nothing else that is wrong with the command line hides the advice.
    return click.option(
        name, is_flag=True, is_eager=True, hidden=True, expose_value=False, callback=reject
    )
