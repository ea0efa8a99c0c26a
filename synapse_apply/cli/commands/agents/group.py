"""The group `agents`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("agents", cls=LazyGroup, entries=registry.AGENTS)
def command() -> None:
    """The agents of a target: the machines on which its jobs run."""
