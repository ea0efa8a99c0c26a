"""Which secrets of Vault a manifest may name, and how a target says where Vault is."""

from __future__ import annotations

from pathlib import Path

import pytest

from synapse_apply.model.project import Target, collect_credentials
from synapse_apply.model.secrets.secret_rules import ClosedFiles
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES
from synapse_apply.secret_sources.source import SourceContext, build_reference_or_none_if_malformed
from synapse_apply.secret_sources.vault.source import (
    VAULT,
    build_settings_of_valid_block,
    describe_path_fault,
    find_block_faults,
    find_path_denial,
)

BLOCK = {
    "address": "https://vault.example:8200/",
    "namespace": "/acme/",
    "token": {"file": "~/.vault-token"},
    "jwt": {"role": "ci", "token": {"env": "Job_Jwt"}},
    "allow": ["kv/raw-data", "team/kv/models/*"],
    "mounts": ["team/kv/", "team"],
}


def find_denial(path: str, version: object = None, block: dict | None = BLOCK):
    """Why a manifest may not name a secret; None where it may."""
    argument = {"path": path, "key": "k", **({} if version is None else {"version": version})}
    ref = build_reference_or_none_if_malformed(VAULT, argument, "text")
    assert ref is not None
    settings = {} if block is None else {"vault": block}
    return find_path_denial(ref, SourceContext(Path("/nowhere"), settings=settings, target="prod"))


def test_what_a_block_means() -> None:
    """Slashes at the ends do not count; a token is looked for before a JWT."""
    settings = build_settings_of_valid_block(BLOCK)
    assert settings.origin == "https://vault.example:8200"
    assert settings.path_prefix == ""
    assert build_settings_of_valid_block({**BLOCK, "address": "https://a/b/"}).path_prefix == "/b"
    assert settings.namespace == "acme"
    assert [str(login) for login in settings.logins] == [
        "the token of ~/.vault-token",
        "role ci (JWT of Job_Jwt, auth/jwt)",
    ]
    assert str(settings.split_path_at_mount("team/kv/models/a")) == "team/kv/models/a"
    assert settings.split_path_at_mount("team/kv/models/a").mount == "team/kv"
    assert settings.split_path_at_mount("team/kv2/a").mount == "team"
    assert settings.split_path_at_mount("kv/raw/data").mount == "kv"


@pytest.mark.parametrize(
    "path",
    ["", "kv", "/kv/a", "kv/a/", "kv//a", "kv/./a", "kv/../a", "kv/a?version=1", "kv/a#b",
     "kv/%2e%2e/a", "kv/a\\b", "kv/a\nb", "kv/*", "kv/+", "kv/\u00e4", "kv/" + "a" * 600],
)  # fmt: skip
def test_texts_that_are_no_path(path: str) -> None:
    """None of them is allowed, whatever a pattern says."""
    assert describe_path_fault(path)
    assert not build_settings_of_valid_block({**BLOCK, "allow": ["*"]}).is_path_allowed(path)


@pytest.mark.parametrize(
    "path", ["kv/raw-data", "kv/a b/c.d_e~f", "team/kv/models/a/b", "kv/user@host"]
)
def test_texts_that_are_one(path: str) -> None:
    """As people name secrets."""
    assert describe_path_fault(path) == ""


def test_only_listed_paths_may_be_named() -> None:
    """Case counts, as in Vault; without a block a manifest is right, and its value not readable."""
    assert find_denial("kv/raw-data") is None
    assert find_denial("team/kv/models/a/b") is None
    for path in ("kv/raw-data2", "KV/raw-data", "kv/raw-data/x", "team/kv/modelsx"):
        denial = find_denial(path)
        assert denial.detail.startswith(f"{path} matches no pattern of vault.allow: kv/raw-data, ")
        assert denial.hint == f"add {path} to targets.prod.vault.allow"
    assert find_denial("kv/anything", block=None) is None


@pytest.mark.parametrize("version", [0, -1, "0", "x", "1.5", "\u0661", 10**9, "01"])
def test_what_is_no_version(version: object) -> None:
    """Versions are counted from 1."""
    assert find_denial("kv/raw-data", version).summary == "Malformed version"
    assert find_denial("kv/raw-data", 999_999_999) is None


@pytest.mark.parametrize(
    ("address", "is_wrong"),
    [
        ("https://vault.example", False),
        ("http://vault.example", True),
        ("http://127.0.0.1:8200", False),
        ("http://[::1]:8200", False),
        ("http://localhost:8200", False),
        ("http://localhost.example", True),
        ("HTTP://10.0.0.1", True),
    ],
)
def test_tls_except_on_a_loopback_address(address: str, is_wrong: bool) -> None:
    """Where anybody could listen, nothing is sent without it."""
    faults = find_block_faults({**BLOCK, "address": address})
    assert [fault.summary for fault in faults] == ["Vault without TLS"] * is_wrong


def test_its_credentials_are_closed_to_manifests() -> None:
    """The variable of the JWT, and the file of the token."""
    reserved = collect_credentials({"prod": Target("prod", source_settings={"vault": BLOCK})})
    assert reserved.variables["JOB_JWT"] == "targets.prod.vault.jwt.token"
    closed = ClosedFiles(reserved, Path("/project"), {})
    assert (
        closed.find_setting_or_empty(Path("/project/~/.vault-token")) == "targets.prod.vault.token"
    )


@pytest.mark.parametrize(
    ("path", "key", "closed"),
    [
        ("kv/team/state", "prod", True),
        ("acme/kv/team/state", "prod", True),
        ("team/state", "prod", True),
        ("kv/data/team/state", "prod", True),
        ("kv/team/data/state", "prod", True),
        ("kv/team/state", "dev", False),
        ("kv/team/states", "prod", False),
        ("kv/other/state", "prod", False),
    ],
)
def test_a_path_of_vault_is_the_same_wherever_its_mount_begins(
    path: str, key: str, closed: bool
) -> None:
    """A target's settings say which part of a path is a mount or a namespace."""
    arguments = (
        {"path": "kv/team/state", "key": "prod"},
        {"path": path, "key": key, "version": "2"},
    )
    refs = [SecretRef("vault", arguments=tuple(each.items())) for each in arguments]
    assert SECRET_SOURCES["vault"].may_share_value(*refs) is closed
