"""Options that the environment adds: SYNAPSE_APPLY_ARGS and SYNAPSE_APPLY_ARGS_<command>."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

ALL = "SYNAPSE_APPLY_ARGS"


class BadQuoting(Exception):
    """A variable that cannot be split as a shell would; its text says which and why."""


def with_environment(
    typed: Sequence[str], environ: Mapping[str, str], groups: frozenset[str]
) -> list[str]:
    """What was typed, with the environment's options right after the command, so that flags win.

    `groups` are the commands that have commands. BadQuoting names the variable.
    """
    words = _command_words(typed, groups)
    if words == 0:
        return list(typed)
    own = "_".join([ALL, *typed[:words]])
    return [*typed[:words], *_split(ALL, environ), *_split(own, environ), *typed[words:]]


def _command_words(typed: Sequence[str], groups: frozenset[str]) -> int:
    """How many leading words name the command; 0 when there is none yet."""
    if not typed or typed[0].startswith("-"):
        return 0
    if typed[0] not in groups:
        return 1
    return 2 if len(typed) > 1 and not typed[1].startswith("-") else 0


def _split(name: str, environ: Mapping[str, str]) -> list[str]:
    try:
        return shlex.split(environ.get(name, ""))
    except ValueError as problem:
        raise BadQuoting(f"{name} cannot be split into options: {problem}.") from None
