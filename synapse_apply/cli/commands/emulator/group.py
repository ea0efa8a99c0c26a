"""The group `emulator`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("emulator", cls=LazyGroup, entries=registry.EMULATOR)
def command() -> None:
    """The embedded backend: a real HTTP server on this machine, with its data in a file.

    Target `embedded` starts it for each run by itself; serve it to look at it from elsewhere.
    """
