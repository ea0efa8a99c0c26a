"""What the commands that take SOURCE or RELEASE have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from synapse_apply.cli import options

Body = Callable[..., int]


def sought(body: Body) -> Body:
    """SOURCE|RELEASE and --ref, and what finds manifests; the body gets `what` and `ref`."""
    chain: tuple[Callable[[Any], Any], ...] = (
        options.output,
        options.place,
        options.files,
        options.variables,
        click.argument("what", metavar="SOURCE|RELEASE"),
        click.option(
            "--ref",
            default="",
            metavar="REF",
            help="Take SOURCE, a folder, as it is at this tag, branch or commit of Git.",
        ),
    )
    made = body
    for one in reversed(chain):
        made = one(made)
    return made
