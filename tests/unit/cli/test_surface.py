"""How much there is to read: at first sight, and in all."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from synapse_apply.cli.help_pages import LazyGroup
from synapse_apply.cli.main import root, run

MOST_AT_FIRST_SIGHT = 10
# `blame` added one command and five options, which no other command could take; `controller approve`
# has the `--reason` of `reject`, `state mv` three to move a record to another state.
MOST_COMMANDS = 47
MOST_OPTIONS = 272
# `synapse-apply --help-all` explains them once, for all commands.
OF_MOST_COMMANDS = {"--chdir", "--project", "--color", "--help-all"}


def listed_commands(group: LazyGroup = root) -> Iterator[click.Command]:
    """Every command that a help page lists, groups aside."""
    context = click.Context(group)
    for name, entry in group.entries.items():
        command = group.get_command(context, name)
        if isinstance(command, LazyGroup):
            yield from listed_commands(command)
        elif command is not None and entry.is_listed:
            yield command


def listed_options(command: click.Command) -> list[str]:
    """The options of a command that its page explains."""
    return [
        param.opts[-1]
        for param in command.params
        if isinstance(param, click.Option)
        and not param.hidden
        and param.opts[-1] not in OF_MOST_COMMANDS
    ]


def rows(page: str, heading: str) -> list[str]:
    """The names in the rows below a heading."""
    section = page.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (\S+(?:, \S+)*)", section, re.MULTILINE)


def test_ten_commands_at_first_sight(capsys: pytest.CaptureFixture[str]) -> None:
    """One heading with ten commands, and one sentence that leads to the rest."""
    assert run(["--help"]) == 0
    page = capsys.readouterr().out
    assert len(rows(page, "Main commands")) == MOST_AT_FIRST_SIGHT
    assert re.findall(r"^(\w.*):$", page, re.MULTILINE) == ["Options", "Main commands"]
    assert "`synapse-apply --help-all` lists all commands" in page


@pytest.mark.parametrize("name", ["plan", "apply"])
def test_ten_options_at_first_sight(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The page names how many more there are; --help-all shows every one."""
    assert run([name, "--help"]) == 0
    page = capsys.readouterr().out
    assert len(rows(page, "Options")) <= MOST_AT_FIRST_SIGHT
    assert run([name, "--help-all"]) == 0
    whole_page = capsys.readouterr().out
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert all(option in whole_page for option in listed_options(command))
    more = len(re.findall(r"^  -", whole_page, re.MULTILINE)) - len(rows(page, "Options"))
    assert f"{more - 1} more options: `synapse-apply {name} --help-all`." in page


def test_not_more_commands_and_options() -> None:
    """Add one where it replaces two: who looks for it reads all of them."""
    commands = list(listed_commands())
    assert len(commands) <= MOST_COMMANDS
    assert sum(len(listed_options(command)) for command in commands) <= MOST_OPTIONS


@pytest.mark.parametrize("command", list(listed_commands()), ids=lambda command: command.name)
def test_no_line_of_help_ends_inside_a_word(command: click.Command) -> None:
    for width in range(50, 100, 5):
        with command.make_context("x", [], resilient_parsing=True, terminal_width=width) as context:
            page = command.get_help(context)
        assert not re.findall(r"\S+-$", page, re.MULTILINE)
