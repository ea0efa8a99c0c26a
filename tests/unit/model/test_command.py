"""Printed commands name the target that was typed, and are commands that there are."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from house.parsing import find_dotted_name_or_empty, list_nodes

import synapse_apply
from synapse_apply.cli.main import root
from synapse_apply.model.command import (
    COMMANDS_WITHOUT_TARGET,
    Command,
    Text,
    join_texts,
    lowercase_and_strip_full_stop,
    name_target_in_commands,
)
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.plan import Refusal

PACKAGE = Path(synapse_apply.__file__).parent
IMPORT = Command("import", "storage/a", "ID")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Command("apply"), "synapse-apply apply -t prod"),
        (IMPORT, "synapse-apply import storage/a ID -t prod"),
        (Command("apply", target="staging"), "synapse-apply apply -t staging"),
        (Command("state mv", "storage/a-t", "b"), "synapse-apply state mv storage/a-t b -t prod"),
        (Command("init --from FOLDER"), "synapse-apply init --from FOLDER"),
        (Command("emulator --reset"), "synapse-apply emulator --reset"),
        (Command("state rm", "a; rm -r x"), "synapse-apply state rm 'a; rm -r x' -t prod"),
    ],
)
def test_a_command_names_the_target(command: Command, expected: str) -> None:
    """Once, unless it names one already or knows none; each value is one word for a shell."""
    assert command.format_command_line("prod") == expected
    assert name_target_in_commands(Text("Run ", command, "."), "prod") == f"Run `{expected}`."


def test_the_place_goes_before_the_target() -> None:
    """A command that knows no target knows no project either."""
    place = ["-C", "a b"]
    assert (
        Command("plan").format_command_line("prod", place) == "synapse-apply plan -C 'a b' -t prod"
    )
    assert Command("plan").format_command_line("", place) == "synapse-apply plan -C 'a b'"
    assert Command("schema").format_command_line("prod", place) == "synapse-apply schema"


def test_a_text_is_a_str_until_a_target_is_known() -> None:
    """Without one it reads as it is; a str that looks like a command is never changed."""
    text = Text("if it is there: ", IMPORT)
    assert text == "if it is there: `synapse-apply import storage/a ID`"
    assert name_target_in_commands(text, "") is text
    assert name_target_in_commands("`synapse-apply plan`", "prod") == "`synapse-apply plan`"
    assert name_target_in_commands(
        name_target_in_commands(text, "prod"), "staging"
    ) == name_target_in_commands(text, "prod")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Now: " + Text(Command("plan")) + ".", "Now: `synapse-apply plan -t prod`."),
        (
            join_texts(["a", Text("b ", Command("plan"))]),
            "a; b `synapse-apply plan -t prod`",
        ),
        (join_texts([]), ""),
        (
            lowercase_and_strip_full_stop(Text("See ", Command("doctor"), " first.")),
            "see `synapse-apply doctor -t prod` first",
        ),
        (lowercase_and_strip_full_stop("Correct it."), "correct it"),
        (lowercase_and_strip_full_stop(Text(Command("plan"))), "`synapse-apply plan -t prod`"),
    ],
)
def test_what_is_made_of_texts_has_their_commands(text: str, expected: str) -> None:
    """A sum, a list and a clause still name the target."""
    assert name_target_in_commands(text, "prod") == expected


def test_values_name_it_in_all_their_texts() -> None:
    """A finding, a refusal with ways out, and several of these; without commands they are equal."""
    refusal = Refusal("rule", "a reason", (Text(IMPORT), "wait"))
    finding = error_finding("Wrong", "Here.", Text("Run ", Command("plan"), "."))
    named_refusal, named_finding = name_target_in_commands((refusal, finding), "prod")
    assert named_refusal.ways_out == ("`synapse-apply import storage/a ID -t prod`", "wait")
    assert named_finding.hint == "Run `synapse-apply plan -t prod`."
    assert finding.with_target("") is finding
    assert error_finding("Wrong").with_target("prod") == error_finding("Wrong")


def test_the_commands_that_know_no_target_are_those_without_the_option() -> None:
    """Else a printed command would end with a usage error, or miss its target."""
    context = click.Context(root)
    without_target = {
        name
        for name in root.list_commands(context)
        if not any(_takes(one, "--target") for one in _leaves(root.get_command(context, name)))
    }
    assert without_target <= COMMANDS_WITHOUT_TARGET
    assert {
        name for name in COMMANDS_WITHOUT_TARGET if root.get_command(context, name)
    } == without_target


@pytest.mark.one_process("syntax trees")
def test_every_printed_command_is_one_that_there_is() -> None:
    """Its words lead to a command, and that has the options that are written beside it."""
    calls = list(_printed_commands())
    assert len(calls) > 100
    for place, words, options in calls:
        command: click.Command | None = root
        for word in words:
            if not isinstance(command, click.Group):
                break
            command = command.get_command(click.Context(command), word)
            assert command is not None, (place, words)
        assert command is not None
        assert not isinstance(command, click.Group), (place, words)
        for option in options:
            assert _takes(command, option), (place, words, option)


def _printed_commands() -> Iterator[tuple[str, list[str], list[str]]]:
    """Of each `Command(...)` in the sources: where, its words without options, its options."""
    for path in PACKAGE.rglob("*.py"):
        for node in list_nodes(path):
            if not (
                isinstance(node, ast.Call) and find_dotted_name_or_empty(node.func) == "Command"
            ):
                continue
            texts = [
                text.value
                for text in node.args
                if isinstance(text, ast.Constant) and isinstance(text.value, str)
            ]
            if texts and isinstance(node.args[0], ast.Constant):
                words = shlex.split(" ".join(texts))
                yield (
                    f"{path}:{node.lineno}",
                    [word for word in words if word.islower() and not word.startswith("-")],
                    [word for word in words if word.startswith("-")],
                )


def _leaves(command: click.Command | None) -> list[click.Command]:
    assert command is not None
    if not isinstance(command, click.Group):
        return [command]
    context = click.Context(command)
    return [
        leaf
        for name in command.list_commands(context)
        for leaf in _leaves(command.get_command(context, name))
    ]


def _takes(command: click.Command, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)
