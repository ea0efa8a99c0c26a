"""What a file of sops may name, and that sops is given nothing that was not looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.secret_sources.sops.encrypted_file import (
    KEY_KINDS,
    SopsFile,
    is_listed,
    parse_sops_file,
    require_value_at,
)

ENC = "ENC[AES256_GCM,data:aa==,iv:bb==,tag:cc==,type:str]"
AGE = {"recipient": "age1x", "enc": "e"}
VAULT = {
    "vault_address": "https://evil.example", "engine_path": "sops", "key_name": "k", "enc": "e",
    "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
GOOD: dict[str, Any] = {"age": [AGE], "mac": ENC, "lastmodified": "2026", "version": "3.11.0"}


def parsed(text: str) -> SopsFile:
    return parse_sops_file(text.encode(), "prod.yaml", read_single_mapping)


def document(metadata: Any, **more: Any) -> str:
    return json.dumps({"a": ENC, **more, "sops": metadata}, ensure_ascii=False)


def refusal(text: str) -> str:
    with pytest.raises(SecretUnavailable) as caught:
        parsed(text)
    assert caught.value.__context__ is None
    (finding,) = caught.value.diagnostics
    assert finding.hint
    return str(finding.detail)


@pytest.mark.parametrize(
    ("kind", "entry", "label"),
    [
        ("age", AGE, "age1x"),
        ("pgp", {"fp": "FBC7", "enc": "e", "created_at": "t"}, "FBC7"),
        ("kms", {"arn": "arn:aws:kms:r:1:key/k", "enc": "e"}, "arn:aws:kms:r:1:key/k"),
        ("kms", {"arn": "arn:k", "role": "arn:r", "context": {"a": "b"}, "aws_profile": ""}, "arn:k+arn:r"),
        ("kms", {"arn": "arn:k", "aws_profile": "admin"}, "arn:k+admin"),
        ("gcp_kms", {"resource_id": "projects/p/k", "enc": "e"}, "projects/p/k"),
        ("azure_kv", {"vault_url": "https://v.example", "name": "k", "version": "1"}, "https://v.example/keys/k"),
        ("hc_vault", VAULT, "https://evil.example/v1/sops/keys/k"),
    ],
)  # fmt: skip
def test_keys_are_called_as_sops_calls_them(
    kind: str, entry: Mapping[str, Any], label: str
) -> None:
    """So that a line of .sops.yaml can be copied into the list."""
    (key,) = parsed(document({**GOOD, "age": None, kind: [entry]})).keys
    assert key.label == label
    assert not is_listed(key, {})
    listed = {"age": {"env": "A"}} if kind == "age" else {key.kind.setting: {"keys": [label]}}
    assert is_listed(key, listed)


@pytest.mark.parametrize("kind", KEY_KINDS, ids=lambda kind: kind.setting)
def test_a_server_must_be_listed_by_its_address(kind: Any) -> None:
    """The kind alone allows keys without a server only."""
    entry = {**dict.fromkeys(kind.fields - {"context"}, "x")}
    (key,) = parsed(document({**GOOD, "age": [], kind.section: [entry]})).keys
    assert is_listed(key, {kind.setting: {}}) is (kind.setting in {"age", "pgp"})
    assert not is_listed(key, {kind.setting: {"keys": ["other"]}})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: b\n", "is not encrypted with sops: it has no `sops:` block"),
        ("a: b\nsops: null\n", "is not encrypted with sops"),
        ("a: b\nsops: [1]\n", "is not encrypted with sops"),
        (document({**GOOD, "mac": ""}), "it has no MAC"),
        (document({**GOOD, "age": []}), "it names no key"),
        (document({**GOOD, "hckms": [{"key_id": "x"}]}), "unknown kinds of keys: hckms"),
        (document({**GOOD, "HC_VAULT": [VAULT]}), "unknown kinds of keys: HC_VAULT"),
        (document({**GOOD, "encrypted_comment_regex": "x"}), "encrypted by rules in its comments"),
        (document({**GOOD, "age": {"recipient": "x"}}), "`age` is not a list of keys"),
        (document({**GOOD, "age": [{**AGE, "plugin": "x"}]}), "has fields that sops does not write"),
        (document({**GOOD, "age": ["x"]}), "has fields that sops does not write"),
        (document({**GOOD, "age": [{"recipient": {"a": "b"}}]}), "a field that is not text"),
        (document({**GOOD, "key_groups": [{"age": [AGE]}]}), "inside of `key_groups` and outside of it"),
        (document({**GOOD, "age": [], "key_groups": {"a": 1}}), "`key_groups` is not a list of groups"),
        (document({**GOOD, "age": [], "key_groups": [{"new": [1], "age": [AGE]}]}), "unknown kinds of keys: new"),
        (document(GOOD) + "\n---\n" + document({**GOOD, "hc_vault": [VAULT]}), "More than one document"),
        ('{"a": "b", "sops": {}, "sops": {"age": []}}', "cannot be read as YAML or JSON"),
        ("<<: &x {sops: {}}\nsops: {}\n", "cannot be read as YAML or JSON"),
        ("a: !!binary c29wcw==\n", "cannot be read as YAML or JSON"),
        ("[a]", "cannot be read as YAML or JSON"),
        ("", "is not encrypted with sops"),
        ("a: 'cAn4ry\n", "cannot be read as YAML or JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_none(text: str, reason: str) -> None:
    """Whatever may stand for a key of a later version is none that can be used."""
    said = refusal(text)
    assert reason in said
    assert "cAn4ry" not in said


def test_keys_in_groups_count() -> None:
    """Each group is looked at."""
    groups = [{"age": [AGE]}, {"hc_vault": [VAULT]}]
    file = parsed(document({**GOOD, "age": [], "key_groups": groups, "shamir_threshold": 2}))
    assert [str(key) for key in file.keys] == [
        "age age1x",
        "hc_vault https://evil.example/v1/sops/keys/k",
    ]
    given = json.loads(file.to_json({"age"}))["sops"]
    assert given["key_groups"] == [{"age": [AGE]}, {}]


def test_sops_is_given_what_was_looked_at() -> None:
    """Names of servers stay away, and so does what another parser may take for metadata."""
    text = document({**GOOD, "hc_vault": [VAULT], "kms": None}, SOPS={"age": []}, é="\U0001f600")
    given = parsed(text).to_json({"age"})
    assert given.isascii()
    assert b"evil" not in given
    value, _ = read_single_mapping(given, "")
    assert value == {"a": ENC, "SOPS": {"age": []}, "é": "\U0001f600", "sops": GOOD}


@pytest.mark.parametrize("key", ["", "/", "a/", "x/y/z", "0", "~2", "a/0"])
def test_odd_paths_lead_nowhere(key: str) -> None:
    """None is an exception of ours."""
    with pytest.raises(SecretUnavailable):
        require_value_at({"a": ["b"][:0], "x": {"y": "text"}}, key, "prod.yaml")
