"""Options that the environment adds: SYNAPSE_APPLY_ARGS and SYNAPSE_APPLY_ARGS_<command>."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

ALL = "SYNAPSE_APPLY_ARGS"
# May be repeated, and yet those that are typed take the place of those of the environment: what is
# approved is a matter of one place.
_REPLACED = frozenset({"--reviewed"})


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
    added = [*_split(ALL, environ), *_split(own, environ)]
    return [*typed[:words], *_drop_replaced(added, typed[words:]), *typed[words:]]


def _drop_replaced(added: Sequence[str], typed: Sequence[str]) -> list[str]:
    """The environment's words without options that typed ones take the place of."""
    replaced = _REPLACED & {word.partition("=")[0] for word in typed}
    left: list[str] = []
    words = iter(added)
    for word in words:
        option, has_value, _ = word.partition("=")
        if option not in replaced:
            left.append(word)
        elif not has_value:
            next(words, None)
    return left


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
