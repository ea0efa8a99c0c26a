"""When there is colour, and when somebody is there to be asked."""

from __future__ import annotations

import io

import pytest

from synapse_apply.cli.console import Console


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("color", "environ", "terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0"}, False, False),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour(color: str, environ: dict[str, str], terminal: bool, expected: bool) -> None:
    """A flag wins over NO_COLOR, that over FORCE_COLOR, that over the terminal."""
    assert Console(color=color, environ=environ).should_color(Stream(terminal)) is expected


@pytest.mark.parametrize(
    ("stdin", "stdout", "environ", "as_json", "asked"),
    [
        (True, True, {}, False, True),
        (False, True, {}, False, False),
        (True, False, {}, False, False),
        (True, True, {"SYNAPSE_APPLY_INPUT": "0"}, False, False),
        (True, True, {"SYNAPSE_APPLY_INPUT": "1"}, False, True),
        (True, True, {}, True, False),
        (None, True, {}, False, False),
    ],
)
def test_who_is_asked(
    stdin: bool | None, stdout: bool, environ: dict[str, str], as_json: bool, asked: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Somebody who sees the plan and can answer, unless told not to ask; a daemon has no stdin."""
    monkeypatch.setattr("sys.stdin", None if stdin is None else Stream(stdin))
    monkeypatch.setattr("sys.stdout", Stream(stdout))
    assert Console(as_json, environ=environ).is_interactive is asked
