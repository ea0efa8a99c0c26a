"""What the url of a shared state means, and that nothing of a password is ever repeated."""

from __future__ import annotations

import pytest

from synapse_apply.model.errors import InputError
from synapse_apply.stores.postgres.postgres_database import make_unconnected_postgres_store
from synapse_apply.stores.postgres.postgres_url import is_postgres_url, parse_postgres_state_url


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://db/state", "postgresql://db/state?schema=synapse_apply_prod"),
        ("postgres://me:s3cr3t@db:5433/s", "postgresql://db:5433/s?schema=synapse_apply_prod"),
        ("postgresql://db/s?schema=a-b.C_1", "postgresql://db/s?schema=a-b.C_1"),
        ("postgresql://u@a:1,b:2/s?schema=x", "postgresql://a:1,b:2/s?schema=x"),
        ("postgresql://[::1]:5432/s?schema=x", "postgresql://[::1]:5432/s?schema=x"),
        ("postgresql://db/s?schema=x&password=s3cr3t", "postgresql://db/s?schema=x"),
        ("postgresql:///s?host=/run/pg&schema=x", "postgresql:///s?schema=x"),
        ("postgresql://u:s3cr3t%40%2F@db/s?schema=x", "postgresql://db/s?schema=x"),
    ],
)
def test_where_names_host_database_and_schema(url, where):
    """Never a user or a password; a schema a target."""
    assert is_postgres_url(url)
    store = make_unconnected_postgres_store(url, "prod")
    assert store.where == where
    assert "s3cr3t" not in f"{parse_postgres_state_url(url, 'prod')!r} {vars(store)}"


def test_other_parameters_reach_the_client():
    """TLS and time-outs are the client library's; ours come after."""
    url = "postgresql://u:p%20w@db/s?sslmode=verify-full&schema=x&connect_timeout=3"
    parameters = make_unconnected_postgres_store(url, "t")._database._parameters
    assert parameters["sslmode"] == "verify-full"
    assert parameters["connect_timeout"] == "3"
    assert parameters["password"] == "p w"
    assert parameters["application_name"] == "synapse-apply"
    assert "schema" not in parameters


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3c@r3t@db/s",
        "postgresql://u:s3c/r3t@db/s",
        "postgresql://u:12?s3c=r3t@db/s",
        "postgresql://u:12#s3cr3t@db/s",
        "postgresql://u:s3c:r3t@db/s",
        "postgresql://u:s3c r3t@db/s",
        "postgresql://u:s3c%zz@db/s",
        "postgresql://u:[s3c@db/s",
        "postgresql://db/s?s3c=r3t",
        "postgresql://db/s?sslmode",
        "postgresql://db/s?schema=",
        "postgresql://db/s?schema=a%20b",
        "postgresql://db/s?schema=pg_catalog",
        "postgresql://db/s?schema=" + "x" * 64,
        "postgresql://d b/s",
    ],
)
def test_a_url_that_cannot_be_used_says_why_without_repeating_it(url):
    """Whatever part of a password ended up elsewhere."""
    with pytest.raises(InputError) as caught:
        make_unconnected_postgres_store(url, "prod")
    finding = caught.value.diagnostics[0]
    words = f"{finding.summary} {finding.detail} {finding.hint}"
    assert "url" in words
    assert "s3c" not in words
    assert "r3t" not in words
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url", ["", "state.db", "sqlite:///a", "postgresqlx://db/s", "/postgres/s"]
)
def test_what_is_no_url_of_postgresql(url):
    """A path is a path."""
    assert not is_postgres_url(url)
