"""What goes wrong becomes a message and an exit code."""

from __future__ import annotations

import json

import click
import pytest

from synapse_apply import SynapseApplyError
from synapse_apply.cli.console import Console
from synapse_apply.cli.errors import print_failure
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError, LockHeld, NotFound, Refused, Unreachable

CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (InputError(error_finding("Bad")), 1),
        (Refused(error_finding("No")), 5),
        (LockHeld(error_finding("Held")), 6),
        (SynapseApplyError(), 1),
        (NotFound("gone", status_code=404), 1),
        (ZeroDivisionError(CANARY), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_failure_has_its_code(
    problem: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """People read it on stderr; stdout holds data alone."""
    assert print_failure(problem, Console(environ={})) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")


def test_json_is_one_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """A program finds the findings and the exit code where it reads."""
    assert (
        print_failure(Refused(error_finding("No", "because")), Console(as_json=True, environ={}))
        == 5
    )
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == ""
    assert document["exit_code"] == 5
    assert document["format_version"]
    assert document["diagnostics"][0]["detail"] == "because"


def test_a_document_is_never_followed_by_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """What goes wrong after it was printed, a lock that was lost for one, is told on stderr."""
    face = Console(as_json=True, environ={})
    with click.Context(click.Command("apply")):
        face.write_or_keep_document({"complete": True})
        assert print_failure(LockHeld(error_finding("Lost")), face, "apply") == 6
    out, err = capsys.readouterr()
    assert json.loads(out) == {"complete": True}
    assert err == "Error: Lost\n"


def test_no_answer_is_told_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a status the client's words say what happened."""
    print_failure(Unreachable("connection refused by 127.0.0.1:9"), Console(environ={}))
    assert "connection refused by 127.0.0.1:9." in capsys.readouterr().err


def _fail() -> None:
    secret = CANARY
    raise RuntimeError(secret)


@pytest.mark.parametrize("level", ["", "debug", "trace"])
def test_an_internal_error_shows_a_place_but_no_value(
    level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback is for `trace` alone, and holds neither message nor locals."""
    try:
        _fail()
    except RuntimeError as problem:
        print_failure(problem, Console(environ={"SYNAPSE_APPLY_LOG": level}))
    err = capsys.readouterr().err
    assert "RuntimeError at test_endings.py" in err
    assert "report" in err
    assert ("Traceback" in err) is (level == "trace")
    assert CANARY not in err.replace("secret = CANARY", "")
