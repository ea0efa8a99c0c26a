"""The login file of the vendor's tools: what is read, and what is said of one that is odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synapse_apply.model.secrets.secret_rules import LOGIN_FILE_LABEL, Login
from synapse_apply.secrets.login import read_login

TOKEN = "syn_t0ken-of-tests"


def read(home: Path, text: str | None, mode: int = 0o600) -> Login | None:
    """What is found where the file has this text."""
    if text is not None:
        file = home / ".synapse" / "config.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
    return read_login({"HOME": str(home)})


def found(home: Path, **keys: Any) -> Login:
    login = read(home, json.dumps(keys))
    assert login is not None
    return login


def test_a_login_is_read_whole(tmp_path: Path) -> None:
    """Host, token and tenant; other keys are nobody's business."""
    login = found(
        tmp_path, host="https://api.acme.example/", access_token=TOKEN, tenant="acme", theme="dark"
    )
    assert (login.file_label, login.url, login.tenant) == (
        LOGIN_FILE_LABEL,
        "https://api.acme.example",
        "acme",
    )
    assert login.token is not None
    assert login.token.reveal() == TOKEN
    assert (login.no_login_reason, login.problem, login.is_exposed) == ("", "", False)
    assert TOKEN not in repr(login)


def test_without_a_host_it_is_the_vendors_own(tmp_path: Path) -> None:
    """That is where the vendor's tools send it."""
    assert found(tmp_path, access_token=TOKEN).url == "https://api.synapse.sh"


def test_there_is_none(tmp_path: Path) -> None:
    """Neither a file nor a home to look in."""
    assert read(tmp_path, None) is None
    assert read_login({}) is None
    assert read_login({"HOME": ""}) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "has no access_token"),
        ({"access_token": "  "}, "has no access_token"),
        ({"access_token": None, "user_token": TOKEN}, "only a user_token, which this tool does"),
    ],
)
def test_a_login_without_a_token_of_use(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    """Its url can be used all the same; what is missing is told."""
    login = found(tmp_path, host="https://a.example", **keys)
    assert (login.url, login.token) == ("https://a.example", None)
    assert words in login.no_login_reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not a JSON object"),
        (f'{{"access_token": "{TOKEN}"', "it is not a JSON object (line 1, column "),
        (f'["{TOKEN}"]', "it is not a JSON object"),
        (f'{{"access_token": ["{TOKEN}"]}}', "access_token is not text"),
        ('{"host": 1, "tenant": 2}', "host, tenant is not text"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    """Why is told, and never what stands in it."""
    login = read(tmp_path, text)
    assert login is not None
    assert login.token is None
    assert words in login.problem
    assert TOKEN not in repr(login)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    """No file, and no exception."""
    (tmp_path / ".synapse" / "config.json").mkdir(parents=True)
    login = read_login({"HOME": str(tmp_path)})
    assert login is not None
    assert "is not a file" in login.problem


def test_one_that_others_can_read(tmp_path: Path) -> None:
    """It is used, and told."""
    login = read(tmp_path, json.dumps({"access_token": TOKEN}), mode=0o640)
    assert login is not None
    assert login.is_exposed
