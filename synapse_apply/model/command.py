"""Commands in what people are told: each names the target that its reader has chosen.

A command that is printed is copied. Where a target was named by `-t`, it must be named there too,
or the command would meet another backend, or none. So a command is a value until it is shown.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, cast

from synapse_apply.model.frozen import replace

T = TypeVar("T")

# These know no target, and no project either.
COMMANDS_WITHOUT_TARGET = frozenset(
    {"completion", "controller", "emulator", "explain", "init", "schema", "version"}
)

_PLACE = re.compile(r"\{(\w+)\}")


class Command:
    """A command of ours that a reader may copy, such as `Command("state accept", address)`.

    `words` are printed as they are; `values` follow, each quoted for a shell. `target` is set
    where the command is for another target than the one that its reader has chosen.
    """

    __slots__ = ("target", "values", "words")

    def __init__(self, words: str, *values: object, target: str = "") -> None:
        self.words = words
        self.values = tuple(map(str, values))
        self.target = target

    def __str__(self) -> str:
        return self.render()

    def render(self, target: str = "", location: Sequence[str] = ()) -> str:
        """The command as texts show it: between backticks."""
        return f"`{self.format_command_line(target, location)}`"

    def format_command_line(self, target: str = "", location: Sequence[str] = ()) -> str:
        """The command as it is typed, with the target and other options of where it is run."""
        values = [*self.values]
        if self.words.partition(" ")[0] not in COMMANDS_WITHOUT_TARGET:
            target = self.target or target
            values += [*location, "-t", target] if target else location
        return " ".join(["synapse-apply", self.words, *map(shlex.quote, values)])


class Text(str):
    """A text for people whose commands are values: `Text("Run ", Command("plan"), " again.")`.

    As a str it has the commands as they are for a reader who chose no target. Only `+`,
    `join_texts` and `fill` keep the commands; a format string makes a plain str.
    """

    __slots__ = ("parts",)

    parts: tuple[str | Command, ...]

    def __new__(cls, *parts: str | Command) -> Self:
        text = super().__new__(cls, "".join(map(str, parts)))
        text.parts = tuple(
            nested
            for part in parts
            for nested in (part.parts if isinstance(part, Text) else [part])
        )
        return text

    def __add__(self, other: str) -> Text:
        return Text(self, other)

    def __radd__(self, other: str) -> Text:
        return Text(other, self)

    def render(self, target: str = "", location: Sequence[str] = ()) -> str:
        """The text with commands that name the target and other options of where they are run."""
        return "".join(
            part.render(target, location) if isinstance(part, Command) else part
            for part in self.parts
        )


def import_text(address: object, remote_id: object = "ID", *, is_recorded: bool) -> Text:
    """The command that records an object, after the one that frees an address which has another."""
    free = (Command("state rm", address), ", then ") if is_recorded else ()
    return Text(*free, Command("import", address, remote_id))


def join_texts(texts: Iterable[str]) -> Text:
    """The texts with semicolons between them, whose commands stay values."""
    parts = [part for text in texts for part in ("; ", text)]
    return Text(*parts[1:])


def fill(template: str, values: Mapping[str, object]) -> str:
    """A template with values in the place of each `{name}`; commands stay values."""
    parts: list[Any] = _PLACE.split(template)
    parts[1::2] = [values[name] for name in parts[1::2]]
    if any(isinstance(part, Command | Text) for part in parts):
        return Text(*(part if isinstance(part, Command | str) else str(part) for part in parts))
    return "".join(map(str, parts))


def lowercase_and_strip_full_stop(sentence: str) -> Text:
    """A sentence as a part of another one: its first letter small, without its full stop."""
    parts = list(sentence.parts if isinstance(sentence, Text) else [sentence])
    if isinstance(parts[0], str):
        parts[0] = parts[0][:1].lower() + parts[0][1:]
    if isinstance(parts[-1], str):
        parts[-1] = parts[-1].removesuffix(".")
    return Text(*parts)


class WithCommands:
    """A value in whose texts there may be commands, such as a finding, or a plan full of them.

    `TEXT_FIELDS` names the fields that hold texts, or values that have some.
    """

    __slots__ = ()

    TEXT_FIELDS: ClassVar[tuple[str, ...]] = ()

    def with_target(self, target: str) -> Self:
        """The same for a reader who chose this target: the commands name it; "" changes nothing."""
        if not target:
            return self
        changes = {
            name: name_target_in_commands(text, target)
            for name in self.TEXT_FIELDS
            if (text := getattr(self, name))
        }
        return cast("Self", replace(cast("Any", self), **changes))


def name_target_in_commands(value: T, target: str, location: Sequence[str] = ()) -> T:
    """A text, a value with texts, or several as they are shown: its commands name the target.

    `location` are the other options that say where a command is run, a word each.
    """
    named: Any = value
    if not target and not location:
        return value
    if isinstance(value, Text):
        named = value.render(target, location)
    elif isinstance(value, list | tuple):
        named = type(value)(name_target_in_commands(item, target, location) for item in value)
    elif isinstance(value, WithCommands):
        named = value.with_target(target)
    return cast("T", named)
