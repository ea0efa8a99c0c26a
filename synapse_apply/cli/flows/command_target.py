"""The target that a command works on, and its options in the words of the library."""

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
    """The target of a command; options that do not go together are a usage error."""
    try:
        with closing(OpenTarget(invocation)) as target:
            yield target
    except OptionConflict as problem:
        raise click.UsageError(str(problem)) from None


def build_plan_keywords(plan_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `OpenTarget.plan` and `apply` are given for `options.add_plan_options`."""
    keywords = dict(plan_arguments)
    keywords["verify"] = not keywords.pop("no_verify")
    keywords["override_guards"] = keywords.pop("overridden")
    return keywords
