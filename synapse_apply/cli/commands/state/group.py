"""The group `state`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("state", cls=LazyGroup, entries=registry.STATE)
def command() -> None:
    """Manage a state: which live object belongs to which address, and what was sent to it.

    Nothing here changes a live object. A state holds no secret.
    """
