"""The group `controller`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("controller", cls=LazyGroup, entries=registry.CONTROLLER)
def command() -> None:
    """Follow Git all the time: keep targets as it says, and show them all on one page.

    What may be applied is said for each target by its mode: observe (nothing), auto, or approve (a
    person first). A red commit, drift, what waits for a person and a target that cannot be planned
    are shown on its page, as commit statuses and as messages.
    """
