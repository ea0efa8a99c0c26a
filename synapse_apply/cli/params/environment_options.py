"""Options that the environment adds: SYNAPSE_APPLY_ARGS and SYNAPSE_APPLY_ARGS_<command>."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

ARGUMENTS_VARIABLE = "SYNAPSE_APPLY_ARGS"
# May be repeated, and yet those that are typed take the place of those of the environment: what is
# approved is a matter of one place.
_REPLACED_OPTIONS = frozenset({"--reviewed"})


class BadQuoting(Exception):
    """A variable that cannot be split as a shell would; its text says which and why."""


def add_environment_options(
    typed_words: Sequence[str], environ: Mapping[str, str], groups: frozenset[str]
) -> list[str]:
    """What was typed, with the environment's options right after the command, so that flags win.

    `groups` are the commands that have commands. BadQuoting names the variable.
    """
    word_count = _count_command_words(typed_words, groups)
    if word_count == 0:
        return list(typed_words)
    command_variable = "_".join([ARGUMENTS_VARIABLE, *typed_words[:word_count]])
    added_words = [
        *_split_variable(ARGUMENTS_VARIABLE, environ),
        *_split_variable(command_variable, environ),
    ]
    return [
        *typed_words[:word_count],
        *_drop_replaced_options(added_words, typed_words[word_count:]),
        *typed_words[word_count:],
    ]


def _drop_replaced_options(added_words: Sequence[str], typed_words: Sequence[str]) -> list[str]:
    """The environment's words without options that typed ones take the place of."""
    replaced_options = _REPLACED_OPTIONS & {word.partition("=")[0] for word in typed_words}
    remaining_words: list[str] = []
    words = iter(added_words)
    for word in words:
        option, has_value, _ = word.partition("=")
        if option not in replaced_options:
            remaining_words.append(word)
        elif not has_value:
            next(words, None)
    return remaining_words


def _count_command_words(typed_words: Sequence[str], groups: frozenset[str]) -> int:
    """How many leading words name the command; 0 when there is none yet."""
    if not typed_words or typed_words[0].startswith("-"):
        return 0
    if typed_words[0] not in groups:
        return 1
    return 2 if len(typed_words) > 1 and not typed_words[1].startswith("-") else 0


def _split_variable(name: str, environ: Mapping[str, str]) -> list[str]:
    try:
        return shlex.split(environ.get(name, ""))
    except ValueError as problem:
        raise BadQuoting(f"{name} cannot be split into options: {problem}.") from None
