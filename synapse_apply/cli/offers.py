"""What a shell offers for arguments and options: names from the project's files, without network.

Nothing here is imported or run unless a shell asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import parsing

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from synapse_apply.session.where import Where

Offer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]
# What a shell takes as it is: a label may hold anything, and must not become part of a command.
_PLAIN = re.compile(r"[\w./@:=+,-]+")


def targets(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The project's targets."""
    from synapse_apply.session import offered

    return _fitting(offered.targets(_where(ctx)), typed)


def addresses(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """What the manifests declare."""
    from synapse_apply.session import offered

    return _fitting(offered.addresses(_where(ctx)), typed)


def recorded(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """What a state on this disk has."""
    from synapse_apply.session import offered

    return _fitting(offered.recorded(_where(ctx)), typed)


def addresses_or_files(
    ctx: click.Context, param: click.Parameter, typed: str
) -> list[CompletionItem[str]]:
    """What is declared or recorded, and files where none of it begins so."""
    from synapse_apply.session import offered

    where = _where(ctx)
    names = sorted({*offered.addresses(where), *offered.recorded(where)})
    return _fitting(names, typed) or files(ctx, param, typed)


def files(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """Whatever the shell itself would offer."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="file")]


def plugins(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The plugins that are declared."""
    from synapse_apply.session import offered

    return _fitting(offered.plugins(_where(ctx)), typed)


def parts(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """What a selection takes: kinds, addresses, labels."""
    from synapse_apply.kinds.catalogue import CATALOGUE
    from synapse_apply.session import offered

    where = _where(ctx)
    return _fitting([*CATALOGUE, *offered.addresses(where), *offered.labels(where)], typed)


def guards(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The guards that can be overridden."""
    from synapse_apply.planning.guards import NAMES

    return _fitting(NAMES, typed)


def reports(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The kinds of report, then a file."""
    if "=" in typed:
        return files(ctx, param, typed.partition("=")[2])
    return _fitting([f"{kind}=" for kind in parsing.KINDS_OF_REPORT], typed)


def _fitting(names: Iterable[str], typed: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(name) for name in names if name.startswith(typed) and _PLAIN.fullmatch(name)
    ]


def _where(ctx: click.Context) -> Where:
    """The place that was named so far, as far as it can be understood."""
    from synapse_apply.session.where import Where

    said = ctx.params
    directory = Path.cwd() / (said.get("chdir") or "")
    project = said.get("project")
    return Where(
        directory=directory,
        project=directory / project if project else None,
        target=said.get("target"),
        paths=tuple(directory / path for path in said.get("paths") or ()),
        variables=said.get("variables") or {},
        on_terminal=True,
    )
