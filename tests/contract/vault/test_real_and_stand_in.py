"""Secrets are read from a real OpenBao as from the stand-in, and each refusal has its own words."""

from __future__ import annotations

import pytest
from vault import jwts

from synapse_apply import SynapseApplyError


def refuse(reader, path, key="secret", version=None):
    """The one finding of a read that gives no value."""
    with pytest.raises(SynapseApplyError) as caught:
        reader.require_value_of_key(path, key, version)
    (finding,) = caught.value.diagnostics
    return finding


def test_a_key_of_a_version_and_of_the_newest(vault, open_reader):
    """Without a version the newest counts; values are JSON, and stay as they are."""
    vault.put("kv/raw-data", {"secret": "first", "number": 7})
    version = vault.put("kv/raw-data", {"secret": "second", "nested": {"a": [1, None]}})
    reader = open_reader(vault.url, vault.make_token("kv/raw-data"))
    assert reader.require_value_of_key("kv/raw-data", "secret").reveal() == "second"
    assert reader.require_value_of_key("kv/raw-data", "nested").reveal() == {"a": [1, None]}
    assert reader.require_value_of_key("kv/raw-data", "secret", version - 1).reveal() == "first"
    assert reader.require_value_of_key("kv/raw-data", "number", version - 1).reveal() == 7


def test_a_jwt_is_exchanged_for_a_token_that_ends_with_the_run(vault, open_reader):
    """The job's JWT logs in by its role; the token that it gives is revoked at the end."""
    vault.put("kv/by-jwt", {"secret": "value"})
    vault.make_role("ci", "kv/by-jwt")
    reader = open_reader(vault.url, jwt=jwts.sign())
    assert reader.require_value_of_key("kv/by-jwt", "secret").reveal() == "value"
    check = reader.log_in_and_check_token()
    assert check.remaining_seconds == 600
    if hasattr(vault, "count_tokens"):
        before = vault.count_tokens()
        reader.close()
        assert vault.count_tokens() == before - 1
    else:
        reader.close()
        assert vault.tokens == {}


def test_a_batch_token_is_left_to_expire(vault, open_reader):
    """Vault cannot revoke one, so that nothing is asked of it."""
    vault.put("kv/by-batch", {"secret": "value"})
    vault.make_role("ci", "kv/by-batch", token_type="batch")
    reader = open_reader(vault.url, jwt=jwts.sign())
    assert reader.require_value_of_key("kv/by-batch", "secret").reveal() == "value"
    reader.close()
    assert not [one for one in getattr(vault, "requests", ()) if "revoke" in one.path]


def test_a_token_is_looked_up_without_reading_a_secret(vault, open_reader):
    """How long it lasts, and that a wrong one is not accepted."""
    check = open_reader(vault.url, vault.make_token("kv/raw-data")).log_in_and_check_token()
    assert 0 < check.remaining_seconds <= 600
    with pytest.raises(SynapseApplyError, match="does not accept the token"):
        open_reader(vault.url, "hvs.nobodys").log_in_and_check_token()
    assert not [one for one in getattr(vault, "requests", ()) if "/data/" in one.path]


def test_what_is_missing_is_told_apart(vault, open_reader):
    """The secret, its version, its key; a version that was deleted, and one that was destroyed."""
    path = "kv/versions"
    for number in (1, 2, 3):
        vault.put(path, {"secret": f"value-{number}", "user": "reader"})
    vault.delete(path, 1)
    vault.destroy(path, 2)
    reader = open_reader(vault.url, vault.make_token(path, "kv/nothing"))
    assert refuse(reader, "kv/nothing").summary == "Vault has no such secret"
    assert refuse(reader, path, version=9).detail.startswith(
        "Vault has no version 9 of kv/versions"
    )
    deleted = refuse(reader, path, version=1)
    assert deleted.detail == "version 1 of kv/versions is deleted"
    assert "vault kv undelete -mount=kv -versions=1 versions" in deleted.hint
    assert refuse(reader, path, version=2).detail == "version 2 of kv/versions is destroyed"
    missing = refuse(reader, path, key="secert")
    assert missing.detail == "kv/versions has no key secert"
    assert "`vault kv get -mount=kv versions` lists its keys" in missing.hint


def test_a_denied_read_names_path_and_login(vault, open_reader):
    """And what the policy lacks; a token that Vault does not know is another matter."""
    vault.put("kv/closed", {"secret": "value"})
    token = vault.make_token("kv/other")
    finding = refuse(open_reader(vault.url, token), "kv/closed")
    assert finding.summary == "Vault denies the read"
    assert finding.detail == "Vault does not let the token of VAULT_TOKEN read kv/closed"
    assert 'path "kv/data/closed" { capabilities = ["read"] }' in finding.hint
    vault.make_role("ci", "kv/other")
    by_role = refuse(open_reader(vault.url, jwt=jwts.sign()), "kv/closed")
    assert "role ci (JWT of JOB_JWT, auth/jwt) read kv/closed" in by_role.detail
    unknown = refuse(open_reader(vault.url, "hvs.nobodys"), "kv/closed")
    assert unknown.summary == "Vault does not accept the token"
    told = f"{finding} {by_role} {unknown}"
    assert token not in told
    assert "hvs." not in told


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1000}, "the JWT has expired, or is not valid yet"),
        ({"aud": "https://else.example"}, "the role does not accept the audience (aud) of the JWT"),
        ({"iss": "https://else.example"}, "the JWT is from another issuer (iss)"),
        ({"sub": "repo:acme/other"}, "the claims of the JWT do not match the role"),
    ],
    ids=["expired", "audience", "issuer", "subject"],
)
def test_a_jwt_that_the_role_does_not_take(vault, open_reader, claims, reason):
    """Which claim it is, in words of our own."""
    vault.make_role("ci", "kv/raw-data")
    finding = refuse(open_reader(vault.url, jwt=jwts.sign(**claims)), "kv/raw-data")
    assert finding.summary == "The login to Vault failed"
    assert f"issued no token to role ci (JWT of JOB_JWT, auth/jwt): {reason}" in finding.detail
    assert "`vault read auth/jwt/role/ci`" in finding.hint


def test_a_login_that_is_not_there(vault, open_reader):
    """A role that nobody made, a mount without JWT logins, and what is no JWT."""
    vault.make_role("ci", "kv/raw-data")
    jwt = jwts.sign()
    role = refuse(open_reader(vault.url, jwt=jwt, role="nobodys"), "kv/raw-data")
    assert "it has no such role" in role.detail
    mount = refuse(open_reader(vault.url, jwt=jwt, jwt_mount="gitlab"), "kv/raw-data")
    assert "no JWT login is mounted at auth/gitlab" in mount.detail
    forged = refuse(open_reader(vault.url, jwt=f"{jwt[:-8]}AAAAAAAA"), "kv/raw-data")
    assert "not signed by a key that the mount knows" in forged.detail


def test_other_mounts(vault, open_reader):
    """KV 1 is told as what it is; a mount with a slash in its path must be named."""
    vault.enable("old", "1")
    vault.enable("team/kv")
    vault.put("old/raw-data", {"secret": "value"})
    vault.put("team/kv/raw-data", {"secret": "value"})
    token = vault.make_token("*", "old/data/raw-data")
    reader = open_reader(vault.url, token)
    assert refuse(reader, "old/raw-data").summary == "The mount is not KV version 2"
    assert refuse(reader, "nowhere/raw-data").summary == "Vault has no such mount"
    assert refuse(reader, "team/kv/raw-data").summary == "The mount has a different path"
    reader = open_reader(vault.url, token, mounts=["team/kv"])
    assert reader.require_value_of_key("team/kv/raw-data", "secret").reveal() == "value"
    assert refuse(reader, "kv/data/raw-data").hint.endswith("without `data/`: kv/raw-data.")


def test_a_namespace_that_is_not_there(vault, open_reader):
    """It is named, and what to look at."""
    finding = refuse(
        open_reader(vault.url, vault.make_token("*"), namespace="acme/team"), "kv/raw-data"
    )
    assert finding.summary == "Vault has no such namespace"
    assert "acme/team" in finding.detail
