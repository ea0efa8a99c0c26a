"""The group `package`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("package", cls=LazyGroup, entries=registry.PACKAGE)
def command() -> None:
    """Look at the package of a release before it is published, and at what became of it since.

    A package is named by its folder, by a zip, or by the release that declares it. None of these
    commands needs a backend.
    """
