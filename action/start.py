"""Starts the command for action.yml: `args` become words, `secrets` its environment alone.

Standard library only. The process becomes the command, so that what signals it reaches the command.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import NoReturn

ONE_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
SEVERAL_LINES = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)<<(\S+)")
USAGE = 64


class UnreadableSecrets(Exception):
    """The input has a line that is no variable; the text tells its number, never what it holds."""


class UnreadableArguments(Exception):
    """The input cannot be split into words, or approves what another input approves."""


def main(words: list[str]) -> NoReturn:
    """Become `synapse-apply WORDS`, or end with an exit code where that cannot be begun."""
    environment = dict(os.environ)
    try:
        words = insert_arguments(words, environment.pop("ARGS", ""))
        environment.update(read_variables(environment.pop("SECRETS", "")))
    except UnreadableArguments as problem:
        end_with_error("The input args cannot be used", problem)
    except UnreadableSecrets as problem:
        end_with_error("The input secrets cannot be read", problem)
    # -I, because PYTHON* variables and files of the checkout must add no code. The secrets come by
    # an input, because `env` of a step that uses an action is seen by every step inside it.
    command = [sys.executable, "-I", "-m", "synapse_apply", *words]
    os.execve(sys.executable, command, environment)  # noqa: S606 - without a shell, on purpose


def end_with_error(title: str, problem: Exception) -> NoReturn:
    """An annotation that the run shows, and the exit code of a usage error."""
    sys.stdout.write(f"::error title={title}::{problem}\n")
    sys.exit(USAGE)


def insert_arguments(words: list[str], text: str) -> list[str]:
    """The words of `args` right behind the command: what other inputs say comes later and holds.

    Target and reviewed plans can be several, so that a second one would not be replaced: they are
    said in one place. UnreadableArguments for such an option that an input gives, too.
    """
    try:
        arguments = shlex.split(text)
    except ValueError as problem:
        raise UnreadableArguments(f"It cannot be split into words: {problem}.") from None
    for option in ("--reviewed", "--target"):
        if option in words and any(_is_spelling_of(option, word) for word in arguments):
            name = option.removeprefix("--")
            raise UnreadableArguments(f"{option} stands in it beside the input {name}.")
    return [*words[:1], *arguments, *words[1:]]


def _is_spelling_of(option: str, word: str) -> bool:
    """Whether a word is an option, with its value or without, also as `-t` for --target."""
    is_short = option == "--target" and word.startswith("-t")
    return is_short or word.partition("=")[0] == option


def read_variables(text: str) -> dict[str, str]:
    """The variables of lines NAME=VALUE; a value of several lines is between NAME<<END and END."""
    variables: dict[str, str] = {}
    lines = enumerate(text.split("\n"), start=1)  # other ends of lines may be part of a value
    for number, line in lines:
        if not line.strip():
            continue
        if block := SEVERAL_LINES.fullmatch(line):
            name, end = block.groups()
            variables[name] = "\n".join(_take_until(end, lines, number))
        elif pair := ONE_LINE.fullmatch(line):
            variables[pair[1]] = pair[2]
        else:
            raise UnreadableSecrets(
                f"Line {number} is neither NAME=VALUE nor NAME<<END. A value of several lines "
                "stands between a line NAME<<END and a line END."
            )
    return variables


def _take_until(end: str, lines: enumerate[str], first: int) -> list[str]:
    taken: list[str] = []
    for _, line in lines:
        if line == end:
            return taken
        taken.append(line)
    raise UnreadableSecrets(f"The value that begins in line {first} has no end: its line END.")


if __name__ == "__main__":
    main(sys.argv[1:])
