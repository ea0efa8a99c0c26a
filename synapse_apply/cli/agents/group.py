"""`synapse-apply agents`."""

from __future__ import annotations

import click

from synapse_apply.cli import table
from synapse_apply.cli.manual import LazyGroup


@click.group("agents", cls=LazyGroup, entries=table.AGENTS)
def command() -> None:
    """The agents of a target: the machines on which its jobs run."""
