"""What a shell completes: names of files, and of a controller what its API lists."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import single_target
from synapse_apply.cli.params import option_parsing

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from synapse_apply.workspace.invocation import Invocation

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]
_MOST_CONTROLLER_TARGETS, _CONTROLLER_SECONDS = 200, 1.0
# What a shell takes as it is: a label may hold anything, and must not become part of a command.
_PLAIN_WORD = r"[\w./@:=+,-]+"


def complete_targets(
    ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The project's targets, and their labels."""
    from synapse_apply.operations import complete

    invocation = _partial_invocation(ctx)
    names = complete.list_target_names(invocation)
    return _plain_words([*names, *complete.list_labels_of_targets(invocation)], prefix)


def complete_declared(
    ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The declared addresses."""
    from synapse_apply.operations import complete

    return _plain_words(complete.list_declared_addresses(_partial_invocation(ctx)), prefix)


def complete_recorded(
    ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The addresses of a local state."""
    from synapse_apply.operations import complete

    return _plain_words(complete.list_local_addresses(_partial_invocation(ctx)), prefix)


def complete_addresses(
    ctx: click.Context, param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """Declared and recorded addresses, or files where none starts with the prefix."""
    from synapse_apply.operations import complete

    invocation = _partial_invocation(ctx)
    names = sorted(
        {*complete.list_declared_addresses(invocation), *complete.list_local_addresses(invocation)}
    )
    return _plain_words(names, prefix) or complete_by_shell(ctx, param, prefix)


def complete_by_shell(
    _ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The shell's own completion of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(prefix, type="file")]


def complete_plugins(
    ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The declared plugins."""
    from synapse_apply.operations import complete

    return _plain_words(complete.list_plugin_names(_partial_invocation(ctx)), prefix)


def complete_selections(
    ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """What --only takes: kinds, addresses, labels."""
    from synapse_apply.kinds.catalogue import CATALOGUE
    from synapse_apply.operations import complete

    invocation = _partial_invocation(ctx)
    return _plain_words(
        [
            *CATALOGUE,
            *complete.list_declared_addresses(invocation),
            *complete.list_resource_labels(invocation),
        ],
        prefix,
    )


def complete_guards(
    _ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The guards that can be overridden."""
    from synapse_apply.planning.guards import GUARD_NAMES

    return _plain_words(GUARD_NAMES, prefix)


def complete_reports(
    ctx: click.Context, param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The kinds of report, and files after `=`."""
    if "=" in prefix:
        return complete_by_shell(ctx, param, prefix.partition("=")[2])
    return _plain_words([f"{kind}=" for kind in option_parsing.REPORT_KINDS], prefix)


def complete_controlled(
    ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The targets of a running controller, SOURCE/TARGET; none where it does not answer at once."""
    from synapse_apply.controller.remote.controller_api import (
        TOKEN_VARIABLE,
        URL_VARIABLE,
        ControllerApi,
    )

    url = ctx.params.get("url") or os.environ.get(URL_VARIABLE, "")
    names: list[str] = []

    def read_names() -> None:
        # Whoever types sees no error, and the answer of a server is no reason to print one.
        with suppress(Exception):
            api = ControllerApi(url, os.environ.get(TOKEN_VARIABLE, ""))
            names.extend(api.names_containing(prefix, _MOST_CONTROLLER_TARGETS))

    if url:
        # A daemon: the shell has its answer in time, whatever the server does.
        reader = Thread(target=read_names, daemon=True)
        reader.start()
        reader.join(_CONTROLLER_SECONDS)
    return _plain_words(list(names), prefix)


def _plain_words(names: Iterable[str], prefix: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(name)
        for name in names
        if name.startswith(prefix) and re.fullmatch(_PLAIN_WORD, name)
    ]


def _partial_invocation(ctx: click.Context) -> Invocation:
    """The Invocation of the options typed so far."""
    from synapse_apply.workspace.invocation import Invocation

    option_values = ctx.params
    directory = Path.cwd() / (option_values.get("chdir") or "")
    project = option_values.get("project")
    return Invocation(
        directory=directory,
        project=directory / project if project else None,
        target=single_target(option_values) or None,
        paths=tuple(directory / path for path in option_values.get("paths") or ()),
        variables=option_values.get("variables") or {},
        on_terminal=True,
    )
