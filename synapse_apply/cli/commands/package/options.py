"""The SOURCE|RELEASE argument and --ref, which the `package` commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from synapse_apply.cli.params import options

CommandBody = Callable[..., int]


def add_package_options(body: CommandBody) -> CommandBody:
    """SOURCE|RELEASE and --ref, and what finds manifests; the body gets `what` and `ref`."""
    decorators: tuple[Callable[[Any], Any], ...] = (
        options.add_json_options,
        options.add_target_options,
        options.add_file_option,
        options.add_variable_options,
        click.argument("what", metavar="SOURCE|RELEASE"),
        click.option(
            "--ref",
            default="",
            metavar="REF",
            help="Take SOURCE, a folder, as it is at this tag, branch or commit of Git.",
        ),
    )
    decorated = body
    for decorator in reversed(decorators):
        decorated = decorator(decorated)
    return decorated
