"""What is shown of the words of a database that has been sent the password in plain text."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest
from attack.test_databases_of_states import make_site
from postgres.lying import LIED_TO, SPELLINGS, LyingDatabase, shows_password

from synapse_apply.stores.postgres import postgres_parameters

REFUSALS = [
    ('database "{}" does not exist', "The database does not exist"),
    ('database "db{}" / {} does not exist', "The database does not exist"),
    ('password authentication failed for user "{}"', "The database refused the login"),
    (
        'no pg_hba.conf entry for host "fe80::1%{}", user "{}"',
        "The database refused the connection",
    ),
    ('no pg_hba.conf entry for host "::1%{}", user "u", database "db"', "refused the connection"),
    ("the database system is starting up {}", "cannot be reached"),
    ("{}", "cannot be reached"),
    ("sorry\nconnection failed: {}", "cannot be reached"),
]
FAILURES = [
    ("42501", "permission denied for schema {}", "The database does not permit this"),
    ("42703", 'column "{}" does not exist', "This is not a state"),
    ("42P01", 'relation "{}" does not exist', "The state is damaged"),
    ("25006", "{} in recovery", "The database is read-only"),
    ("55P03", "{}", "The state is busy"),
    ("53100", "{}", "The database has no space left"),
    ("22021", "{}", "A value cannot be stored in state"),
    ("0A000", "{}", "The state cannot be used"),
    ("", "{}", "The state cannot be used"),
]


def said_about(site: Path, does: str, *lie: str) -> str:
    """What `state show` says of a database that lies."""
    with closing(LyingDatabase(does, *lie)) as database:
        checkout = make_site(site, {"env": "STATE_URL"}, STATE_URL=database.url)
        said = checkout.run("state show", None)
        assert database.heard == LIED_TO
    assert not shows_password(said)
    return said


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("words", "summary"), REFUSALS)
def test_a_refused_login_shows_no_password(
    tmp_path: Path, words: str, summary: str, spelling: str
) -> None:
    """In no spelling; what is to be done is said all the same."""
    assert summary in said_about(tmp_path, "refuse", words, spelling)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("code", "words", "summary"), FAILURES)
def test_a_failed_statement_shows_no_password(
    tmp_path: Path, code: str, words: str, summary: str, spelling: str
) -> None:
    """Nor in the place of the code."""
    assert summary in said_about(tmp_path, "fail", words, spelling, code)


@pytest.mark.parametrize("spelling", ["raw", "turned", "base64", "hex"])
def test_a_stranger_has_no_password_as_a_name(tmp_path: Path, spelling: str) -> None:
    """Names of a stranger's schema and role are the server's words, too."""
    said = said_about(tmp_path, "rows", "{}", spelling)
    assert "The schema belongs to another role" in said
    assert "(sensitive)" in said


@pytest.mark.parametrize("where", ["PGPASSWORD", ".pgpass"])
def test_nor_one_that_libpq_finds(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the password is from: a variable, or a file."""
    found = {where: LIED_TO}
    if where == ".pgpass":
        (tmp_path / where).write_text(f"127.0.0.1:*:*:*:{LIED_TO}\n", encoding="utf-8")
        (tmp_path / where).chmod(0o600)
        found = {"PGPASSFILE": str(tmp_path / where), "PGPASSWORD": ""}
    for does in ("refuse", "rows"):
        with closing(LyingDatabase(does, 'database "{}" does not exist')) as database:
            url = database.url.replace(f":{LIED_TO}@", "@")
            said = make_site(tmp_path, {"env": "STATE_URL"}, STATE_URL=url, **found).run(
                "state show", None
            )
            assert database.heard == LIED_TO
        assert not shows_password(said)


@pytest.mark.parametrize("does", ["refuse", "fail"])
def test_a_controllers_store_shows_no_password(tmp_path: Path, does: str) -> None:
    """The database of the store is a server, too."""
    (tmp_path / "c.yaml").write_text(CONTROLLER, encoding="utf-8")
    with closing(LyingDatabase(does, 'database "{}" does not exist', "turned")) as database:
        site = make_site(tmp_path, "state.db", STORE=database.url, T1="a" * 24)
        said = site.run("controller run c.yaml --data data", None)
        assert database.heard == LIED_TO
    assert "store" in said
    assert not shows_password(said)


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="nobody tells what was received")
@pytest.mark.parametrize("use", ["state show", "controller run c.yaml --data data"])
def test_rows_without_end_are_not_read(
    tmp_path: Path, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No longer than there may be so many, long before the time of a transaction is over."""
    monkeypatch.setattr(postgres_parameters, "MOST_BYTES", 20 * 1024**2)
    (tmp_path / "c.yaml").write_text(CONTROLLER, encoding="utf-8")
    with closing(LyingDatabase("endless")) as database:
        site = make_site(tmp_path, {"env": "STORE"}, STORE=database.url, T1="a" * 24)
        said = site.run(use, None)
    assert "sent more than 1 GiB" in said


CONTROLLER = """
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources: {acme: {url: "https://127.0.0.1:9/x", ref: main, targets: {"*": {mode: observe}}}}
listen: 127.0.0.1:0
access: {tokens: {t1: {env: T1}}, may: [{who: ["token:t1"], do: [read]}]}
store: {url: {env: STORE}}
"""
