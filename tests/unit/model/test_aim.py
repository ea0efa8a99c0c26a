"""Commands in texts name the target that was typed."""

from __future__ import annotations

import click
import pytest

from synapse_apply.cli.main import root
from synapse_apply.model.command import COMMANDS_WITHOUT_TARGET, add_target_to_commands


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Run `synapse-apply apply`.", "Run `synapse-apply apply -t prod`."),
        (
            "`synapse-apply state list`, or `synapse-apply import a 7`",
            "`synapse-apply state list -t prod`, or `synapse-apply import a 7 -t prod`",
        ),
        ("`synapse-apply apply -t staging` first", "`synapse-apply apply -t staging` first"),
        ("`synapse-apply plan --target=staging`", "`synapse-apply plan --target=staging`"),
        ("`synapse-apply state mv storage/a-t storage/b`",
         "`synapse-apply state mv storage/a-t storage/b -t prod`"),
        ("`synapse-apply init --from FOLDER`", "`synapse-apply init --from FOLDER`"),
        ("`synapse-apply emulator reset`", "`synapse-apply emulator reset`"),
        ("synapse-apply alone is no command", "synapse-apply alone is no command"),
        ("`other -t` and `synapse-apply` itself", "`other -t` and `synapse-apply` itself"),
    ],
)  # fmt: skip
def test_a_command_names_the_target(text: str, expected: str) -> None:
    """Once, unless it names one already or knows none; without a target nothing changes."""
    assert add_target_to_commands(text, "prod") == expected
    assert add_target_to_commands(expected, "prod") == expected
    assert add_target_to_commands(text, "") == text


def test_the_commands_that_know_no_target_are_those_without_the_option() -> None:
    """Else a printed command would end with a usage error, or miss its target."""
    context = click.Context(root)
    aimless = {
        name
        for name in root.list_commands(context)
        if not any(_takes_target(one) for one in _leaves(root.get_command(context, name)))
    }
    assert aimless <= COMMANDS_WITHOUT_TARGET
    assert {name for name in COMMANDS_WITHOUT_TARGET if root.get_command(context, name)} == aimless


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


def _takes_target(command: click.Command) -> bool:
    return any("--target" in parameter.opts for parameter in command.params)
