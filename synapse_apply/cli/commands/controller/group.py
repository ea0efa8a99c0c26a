"""The group `controller`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("controller", cls=LazyGroup, entries=registry.CONTROLLER)
def command() -> None:
    """Follow Git all the time: plan every target of every source, and show it on one page.

    The controller looks and tells; this version never applies. A red commit, drift and a target
    that cannot be planned are shown on its page, as commit statuses and as messages.
    """
