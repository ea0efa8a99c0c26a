"""How a command opens its target through the library, and names its options there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.library import OpenTarget
from synapse_apply.model.errors import OptionConflict

if TYPE_CHECKING:
    from synapse_apply import Invocation


@contextmanager
def open_command_target(invocation: Invocation) -> Iterator[OpenTarget]:
    """Open a command's target; OptionConflict becomes a usage error."""
    try:
        with closing(OpenTarget(invocation)) as target:
            yield target
    except OptionConflict as problem:
        raise click.UsageError(str(problem)) from None


def build_plan_keywords(plan_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed options of `add_plan_options` as keywords of `OpenTarget.plan` and `apply`."""
    keywords = dict(plan_arguments)
    keywords["verify"] = not keywords.pop("no_verify")
    keywords["override_guards"] = keywords.pop("overridden")
    return keywords
