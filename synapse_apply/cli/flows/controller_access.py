"""Which controller a command asks: a store of this machine, or a running one over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from synapse_apply.cli.console import Console
from synapse_apply.model.errors import Exit, SynapseApplyError

if TYPE_CHECKING:
    from synapse_apply.controller.remote.controller_api import ControllerApi


def open_controller_api(console: Console, url: str) -> ControllerApi:
    """The API of the controller at a URL, with the token of the environment.

    UsageError where no URL is given, InputError for one that cannot be used.
    """
    from synapse_apply.controller.remote.controller_api import (
        TOKEN_VARIABLE,
        URL_VARIABLE,
        ControllerApi,
    )

    if not url:
        raise click.UsageError(f"Say which controller: --url URL, or {URL_VARIABLE}.")
    return ControllerApi(url, console.environ.get(TOKEN_VARIABLE, ""))


def choose_controller_url(url: str) -> str:
    """The URL that is asked, "" where a data folder is read; UsageError where both are typed."""
    context = click.get_current_context()
    if context.get_parameter_source("data") is not ParameterSource.COMMANDLINE:
        return url
    if context.get_parameter_source("url") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--data and --url do not go together.")
    return ""


def request_each(console: Console, names: Iterable[str], ask: Callable[[str], str]) -> int:
    """Ask for one thing after the other, and print what was done; the worst exit code.

    `ask` returns that sentence. A refusal of one does not keep the others from being asked for.
    """
    from synapse_apply.controller.remote.controller_api import ControllerUnavailable
    from synapse_apply.views.sanitize import sanitize

    codes = [Exit.OK]
    for name in names:
        try:
            console.write_output(f"{sanitize(ask(name))}\n")
        except ControllerUnavailable:
            raise
        except SynapseApplyError as problem:
            console.write_findings(problem.diagnostics)
            codes.append(problem.exit_code)
    return Exit.select_exit_code(*codes)


def wait_for_targets(
    console: Console, api: ControllerApi, names: Sequence[str], span: timedelta
) -> int:
    """Wait until nothing is done with targets or due, and print them; the worst exit code.

    Those that were not in time are findings, and count as errors.
    """
    from synapse_apply.cli.texts.controller import print_target_list
    from synapse_apply.controller.remote.waiting import (
        NotSettledInTime,
        settled_exit_code,
        wait_until_settled,
    )

    end, codes = time.monotonic() + span.total_seconds(), [Exit.OK]
    targets: list[Mapping[str, Any]] = []
    source_findings: dict[str, Mapping[str, Any]] = {}
    for name in names:
        remaining = max(0.0, end - time.monotonic())
        try:
            target = wait_until_settled(
                api, name, remaining, read_counter=time.monotonic, sleep=time.sleep
            )
        except NotSettledInTime as problem:
            console.write_findings(problem.diagnostics)
            codes.append(Exit.ERROR)
            continue
        targets.append(target.item)
        source_findings |= {str(entry["source"]): entry for entry in target.source_findings}
        codes.append(settled_exit_code(api, name, target))
    if targets:
        print_target_list(
            console, {"items": targets, "source_findings": [*source_findings.values()]}
        )
    return Exit.select_exit_code(*codes)
