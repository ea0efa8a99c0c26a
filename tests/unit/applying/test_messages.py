"""Messages are data: each caller gives the values that its text has a place for, and no other."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

from synapse_apply.applying import messages
from synapse_apply.model.command import Command, Text, fill
from synapse_apply.planning import refusals

# What the functions themselves know; what is no value of a text, or of some texts alone.
KNOWN = set(re.findall(r'\n        "(\w+)": ', inspect.getsource(refusals.refusal)))
GIVEN = {"finding": set(), "conflict": {"import_it"}, "run_finding": {"published"}}
GIVEN["refusal"] = KNOWN | {"in_git", "in_synapse", "as_they_are"}
NO_VALUES = {"cause", "request_id", "path", "of_backend", "id", "position", "names", "None"}


@cache
def list_calls() -> list[tuple[str, ast.Call]]:
    """Each call by the name of its function."""
    return [
        (ast.unparse(node.func).rpartition(".")[2], node)
        for module in (messages, refusals)
        for path in sorted(Path(module.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
    ]


@pytest.mark.parametrize("name", GIVEN)
def test_a_message_gets_all_that_its_text_names(name: str) -> None:
    """Else a lost answer would end in a KeyError, which no test of the way there might meet."""
    table = refusals._REFUSALS if name == "refusal" else messages._MESSAGES
    calls = [node for called, node in list_calls() if called == name]
    assert calls
    for node in calls:
        texts = str(table[ast.literal_eval(node.args[0])])
        named = set(re.findall(r"\{(\w+)\}", texts)) - {"address", "cause"} - GIVEN[name]
        given = {str(one.arg) for one in node.keywords}
        assert named <= given <= named | NO_VALUES, ast.unparse(node)


def test_commands_in_a_template_stay_values() -> None:
    """So that each names the target of its reader; braces of a value are not looked into."""
    text = fill("Run {one}, not {two}.", {"one": Command("plan"), "two": "{one}"})
    assert isinstance(text, Text)
    assert text.render("prod") == "Run `synapse-apply plan -t prod`, not {one}."
