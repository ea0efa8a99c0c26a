"""Storages: create, read, list, session, and how secrets are shown."""

from __future__ import annotations

import pytest

S3 = {
    "name": "My S3 Storage",
    "provider": "amazon_s3",
    "category": "external",
    "configuration": {
        "bucket_name": "my-bucket",
        "region": "us-west-2",
        "access_key_id": "AKIA",
        "secret_access_key": "shh",
    },
}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name", "provider"}),
        ({"name": "x", "provider": "", "category": "shared"}, {"provider", "category"}),
        ({"name": "x", "provider": "ftp", "configuration": "a"}, {"configuration"}),
        ({"name": "x", "provider": "ftp", "category": None}, {"category"}),
    ],
)
def test_every_wrong_field_of_a_storage_is_named(wire, body, fields):
    """400 names all wrong fields at once."""
    reply = wire.post("/storages/", body)
    assert (reply.status, set(reply.body)) == (400, fields)


def test_list_by_category(wire):
    """`?category=` narrows; the default category is external; no other word is taken."""
    wire.storage(name="out")
    inside = wire.storage(name="in", category="internal")
    assert wire.get("/storages/?category=internal").body["results"] == [inside]
    assert wire.get("/storages/?category=external").body["count"] == 1
    assert set(wire.get("/storages/?category=shared").body) == {"category"}


def test_short_list_items(start):
    """Under `list_items=short` a list shows no more than what names a storage."""
    wire = start(switches={"list_items": "short"})
    wire.storage(**S3)
    assert wire.get("/storages/").body["results"] == [
        {"id": 1, "name": "My S3 Storage", "provider": "amazon_s3", "category": "external"}
    ]
    assert wire.get("/storages/1/").body["configuration"] == S3["configuration"]


@pytest.mark.parametrize(
    ("provider", "configuration", "secret"),
    [
        ("amazon_s3", S3["configuration"], {"access_key_id", "secret_access_key"}),
        ("minio", {"endpoint_url": "u", "access_key": "a", "secret_key": "b"}, {"access_key", "secret_key"}),
        ("gcp", {"bucket_name": "b", "credentials": "path"}, {"credentials"}),
        ("sftp", {"host": "h", "username": "u", "password": "p"}, {"password"}),
        ("synology", {"url": "u", "username": "n", "password": "p"}, {"password"}),
        ("file_system", {"location": "/data", "permissions": "755"}, set()),
        ("azure", {"container": "c", "depth": 3}, {"container", "depth"}),
        ("holographic", {"crystal": "c"}, {"crystal"}),
    ],
)  # fmt: skip
def test_secrets_masked_or_omitted(start, provider, configuration, secret):
    """By provider: the known secret keys; of unknown providers, every key."""
    wire = start(switches={"secrets": "masked"})
    masked = wire.storage(provider=provider, configuration=configuration)["configuration"]
    assert masked == {
        key: "********" if key in secret else value for key, value in configuration.items()
    }
    wire.patch("/_emulator/switches/", {"secrets": "omitted"})
    assert set(wire.get("/storages/1/").body["configuration"]) == set(configuration) - secret
    wire.patch("/_emulator/switches/", {"secrets": "plain"})
    assert wire.get("/storages/1/").body["configuration"] == configuration


def test_nested_secrets_are_masked_leaf_by_leaf(start):
    """A credentials object keeps its keys and loses every value."""
    wire = start(switches={"secrets": "masked"})
    nested = {"credentials": {"private_key": "x", "scopes": ["a", 1]}}
    shown = wire.storage(provider="gcp", configuration=nested)["configuration"]
    assert shown == {"credentials": {"private_key": "********", "scopes": ["********"] * 2}}


def test_session(wire):
    """The plain configuration for an hour; smb and unknown providers are refused with a code."""
    wire.storage(**S3)
    session = wire.post("/storages/1/session/", {"purpose": "read"})
    assert session.status == 200
    assert session.body["configuration"] == S3["configuration"]
    assert (session.body["provider"], session.body["contract_version"]) == ("amazon_s3", 1)
    assert set(wire.post("/storages/1/session/", {"purpose": "admire"}).body) == {"purpose"}
    for provider, code in (("smb", "credential_not_registered"), ("azure", "provider_unsupported")):
        path = f"/storages/{wire.storage(provider=provider)['id']}/session/"
        reply = wire.post(path, {"purpose": "write"})
        assert (reply.status, reply.body["code"]) == (400, code)
