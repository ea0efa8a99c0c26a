"""`synapse-apply plugins`."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("plugins", cls=LazyGroup, entries=registry.PLUGINS)
def command() -> None:
    """Look at plugins as they are on the backend.

    No manifest is needed; the state, where there is one, knows plugins by their names.
    """
