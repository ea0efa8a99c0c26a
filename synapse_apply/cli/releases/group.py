"""`synapse-apply releases`."""

from __future__ import annotations

import click

from synapse_apply.cli import table
from synapse_apply.cli.manual import LazyGroup


@click.group("releases", cls=LazyGroup, entries=table.RELEASES)
def command() -> None:
    """Look at releases as they are on the backend.

    No manifest is needed; the state, where there is one, knows plugins by their names.
    """
