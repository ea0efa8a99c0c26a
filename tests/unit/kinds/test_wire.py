"""From a server's object to spec fields: what is ours, what is secret, what is a mask."""

from __future__ import annotations

import pytest

from synapse_apply.kinds.plugin import V1 as PLUGIN_V1
from synapse_apply.kinds.release import DIGEST_KEY
from synapse_apply.kinds.release import V1 as RELEASE_V1
from synapse_apply.kinds.wire import to_wire_id, wrap_secrets_and_withhold_masked
from synapse_apply.manifests.schemas import read_marks_of_storage_secrets
from synapse_apply.model.address import Address
from synapse_apply.model.secrets.secret_marks import KindMarks, NamedSecrets, SecretMarks
from synapse_apply.model.values import Sensitive, WithheldSecret

KNOWN = frozenset({("configuration", "key"), ("configuration", "nested", "pass")})
MARKS = SecretMarks(
    {
        "storage": KindMarks(
            "configuration",
            "provider",
            {"s3": KNOWN, "gcp": frozenset({("configuration", "credentials")})},
        )
    }
)


def configuration(provider, values):
    spec = {"provider": provider, "configuration": values}
    return wrap_secrets_and_withhold_masked("storage", spec, MARKS)["configuration"]


def test_marked_leaves_are_wrapped_and_the_rest_is_plain():
    """By path, at any depth."""
    made = configuration("s3", {"key": "s3cret", "open": 1, "nested": {"pass": "p", "x": [1]}})
    assert made == {
        "key": Sensitive("s3cret"),
        "open": 1,
        "nested": {"pass": Sensitive("p"), "x": [1]},
    }
    assert "s3cret" not in repr(made)


@pytest.mark.parametrize("provider", ["unheard-of", None, 3, ["s3"]])
def test_an_unknown_provider_makes_every_leaf_secret(provider):
    """Nobody knows which of them is one."""
    made = configuration(provider, {"a": 1, "b": {"c": "v"}, "d": ["x"], "e": {}})
    assert made["a"] == Sensitive(1)
    assert made["b"]["c"] == Sensitive("v")
    assert made["d"] == Sensitive(["x"])


def test_nulls_are_absent_and_a_container_of_them_is_empty():
    """It is there all the same: a manifest with an empty one differs in nothing."""
    assert configuration("s3", {"a": {"b": None}, "c": None, "key": None, "open": 1}) == {"open": 1}
    assert configuration("s3", {"a": {"b": None}}) == configuration("s3", {}) == {}
    assert configuration(None, {"a": {"b": None}}) == {}


def test_an_empty_map_inside_a_container_stays():
    """A manifest that declares one differs in nothing; a map of nulls is absent as before."""
    assert configuration("s3", {"opts": {}, "a": {"b": None}}) == {"opts": {}}


def test_a_map_that_is_one_secret():
    """`credentials` is wrapped whole."""
    made = configuration("gcp", {"credentials": {"private_key": "v"}, "bucket": "b"})
    assert made == {"credentials": Sensitive({"private_key": "v"}), "bucket": "b"}


@pytest.mark.parametrize("mask", ["***", "********", "••••", "XXXXXX", "xxx", "●●●"])
def test_a_mask_is_withheld(mask):
    """A run of one mask character is no value."""
    assert configuration("s3", {"key": mask}) == {"key": WithheldSecret("masked")}


@pytest.mark.parametrize("value", ["*", "**", "x*x", "aaaa", 111, ["***", "v"]])
def test_what_is_no_mask_is_a_value(value):
    """Too short, mixed, of another character, or no text."""
    assert configuration("s3", {"key": value}) == {"key": Sensitive(value)}


def test_a_secret_map_with_a_mask_in_it_is_withheld():
    """Part of it is not shown, so it is compared with nothing and never sent back."""
    made = configuration("gcp", {"credentials": {"type": "account", "key": "********"}})
    assert made == {"credentials": WithheldSecret("masked")}


@pytest.mark.parametrize("value", ["********", ["***", "***"]])
def test_a_mask_is_withheld_also_where_no_mark_is(value):
    """The server knows of secrets that the schemas do not; letters are no sign there."""
    made = configuration("s3", {"open": value, "bucket": "xxx"})
    assert made == {"open": WithheldSecret("masked"), "bucket": "xxx"}


def test_a_secret_that_is_left_out_is_absent():
    """Nothing is made up for it; null counts as left out."""
    assert configuration("s3", {"open": 1, "key": None}) == {"open": 1}


def test_kinds_without_marks_stay_plain():
    """A plugin has no secret."""
    assert wrap_secrets_and_withhold_masked("plugin", {"configuration": {"key": "v"}}, MARKS) == {
        "configuration": {"key": "v"}
    }


@pytest.mark.parametrize(("text", "wire"), [("12", 12), ("a-1", "a-1"), ("1.2", "1.2")])
def test_ids_go_out_as_the_api_has_them(text, wire):
    """Numbers as numbers, the rest as text."""
    assert to_wire_id(text) == wire


@pytest.mark.parametrize("plugin", [7, "7", {"id": 7, "code": "yolo"}])
def test_a_releases_plugin_is_an_id_in_any_form(plugin):
    """Expanded or not, the reference compares as text."""
    observed = RELEASE_V1.decode({"id": 3, "plugin": plugin, "version": "1.0.0"}, MARKS)
    assert observed.spec["plugin"] == "7"


def test_a_release_without_a_plugin_has_none():
    """An answer that leaves it out must not become the text `None`."""
    observed = RELEASE_V1.decode({"id": 3, "version": "1.0.0"}, MARKS)
    assert "plugin" not in observed.spec


DIGEST = f"pkg1:sha256:{'d' * 64}"


@pytest.mark.parametrize("said", ["d", "pkg1:sha256:d", DIGEST.upper(), ["x"], None, 7])
def test_what_is_no_digest_tells_nothing_of_the_bytes(said):
    """A server may keep anything there; it is neither a field nor recorded."""
    raw = {"id": 1, "plugin": 7, "version": "1", "config": {DIGEST_KEY: said}}
    observed = RELEASE_V1.decode(raw, MARKS)
    assert (observed.extra, observed.spec["config"]) == ({}, {})


def test_our_digest_travels_in_meta_and_free_config_and_is_no_field():
    """Sent in both where config is declared, read back apart from it."""
    spec = {"plugin": "7", "version": "1", "config": {"a": 1}, "digest": DIGEST}
    body = {**RELEASE_V1.encode(spec), **RELEASE_V1.encode_for_platform(spec, "")}
    told = {DIGEST_KEY: DIGEST}
    assert body == {"plugin": 7, "version": "1", "config": {"a": 1, **told}, "meta": told}
    observed = RELEASE_V1.decode({"id": 1, **body}, MARKS)
    assert observed.spec["config"] == {"a": 1}
    assert observed.extra == {"digest": DIGEST}
    assert RELEASE_V1.encode({"plugin": "7", "version": "1", "digest": DIGEST}) == {
        "plugin": 7,
        "version": "1",
    }


@pytest.mark.parametrize(
    ("provider", "key"),
    [("amazon_s3", "session_token"), ("smb", "password"), ("file_system", "mount_secret")],
)
def test_a_key_that_a_server_adds_is_secret(provider, key):
    """The schemas know every key that is safe to show; what they do not know may be a secret."""
    known = {"amazon_s3": "bucket_name", "smb": "share", "file_system": "location"}[provider]
    spec = {"provider": provider, "configuration": {known: "open", key: "s3cret"}}
    made = wrap_secrets_and_withhold_masked("storage", spec, read_marks_of_storage_secrets())[
        "configuration"
    ]
    assert made == {known: "open", key: Sensitive("s3cret")}


@pytest.mark.parametrize("packed", ['{"key": "s3cret"}', ["s3cret"], 7])
def test_a_configuration_that_is_no_map_is_secret_as_a_whole(packed):
    """A server may write it as one text; any secret in there has no path of its own."""
    made = wrap_secrets_and_withhold_masked(
        "storage", {"provider": "s3", "configuration": packed}, MARKS
    )
    assert made == {"provider": "s3", "configuration": Sensitive(packed)}


@pytest.mark.parametrize("nothing", ["", {}, []])
@pytest.mark.parametrize("key", ["secret_key", "never_heard_of"])
def test_an_empty_secret_is_one_that_is_kept_back(nothing, key):
    """A server that withholds credentials may leave their places: nothing of it is sent back."""
    spec = {"provider": "amazon_s3", "configuration": {"bucket_name": "b", key: nothing}}
    made = wrap_secrets_and_withhold_masked("storage", spec, read_marks_of_storage_secrets())[
        "configuration"
    ]
    assert made == {"bucket_name": "b", key: WithheldSecret("omitted")}


def test_an_empty_value_of_an_open_field_is_one():
    """Only what may be a secret is never empty."""
    spec = {"provider": "amazon_s3", "configuration": {"bucket_name": ""}}
    assert wrap_secrets_and_withhold_masked("storage", spec, read_marks_of_storage_secrets())[
        "configuration"
    ] == {"bucket_name": ""}


TOKEN_PATH = ("configuration", "auth", "token")


def named(**ways):
    """Marks of one plugin's token, by which it is recognised."""
    return SecretMarks(read_marks_of_storage_secrets().kinds, NamedSecrets(**ways))


@pytest.mark.parametrize(
    ("marks", "is_hidden"),
    [
        (named(by_id={("plugin", "v1", "7"): frozenset({TOKEN_PATH})}), True),
        (named(by_id={("plugin", "v2", "7"): frozenset({TOKEN_PATH})}), False),
        (named(by_id={("release", "v1", "7"): frozenset({TOKEN_PATH})}), False),
        (named(by_key={("plugin", "code=yolo"): frozenset({TOKEN_PATH})}), True),
        (named(by_key={("plugin", "name=Yolo"): frozenset({TOKEN_PATH})}), True),
        (named(by_key={("plugin", "name=Other"): frozenset({TOKEN_PATH})}), False),
        (named(anywhere={"plugin": frozenset({TOKEN_PATH})}), True),
        (named(by_address={Address("plugin", "a"): frozenset({TOKEN_PATH})}), False),
    ],
)
def test_named_secrets_of_one_object(marks, is_hidden):
    """By its id of that API version, by its key, or wherever it is; each object has its own."""
    raw = {"id": 7, "code": "yolo", "name": "Yolo", "configuration": {"auth": {"token": "v"}}}
    shown = PLUGIN_V1.decode(raw, marks).spec["configuration"]["auth"]["token"]
    assert shown == (Sensitive("v") if is_hidden else "v")


def test_named_secrets_under_an_address():
    """Its own names and those of the id count, and those of nobody else with the same key."""
    raw = {"id": 7, "code": "yolo", "configuration": {"auth": {"token": "v"}, "key": "k"}}
    marks = named(
        by_address={Address("plugin", "a"): frozenset({TOKEN_PATH})},
        by_id={("plugin", "v1", "7"): frozenset({("configuration", "key")})},
        by_key={("plugin", "code=yolo"): frozenset({TOKEN_PATH})},
    )
    found = PLUGIN_V1.decode(raw, marks.with_address(Address("plugin", "a"))).spec["configuration"]
    assert found == {"auth": {"token": Sensitive("v")}, "key": Sensitive("k")}
    found = PLUGIN_V1.decode(raw, marks.with_address(Address("plugin", "b"))).spec["configuration"]
    assert found == {"auth": {"token": "v"}, "key": Sensitive("k")}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"auth": "packed"}, {"auth": Sensitive("packed")}),
        ({"auth": ["packed"]}, {"auth": Sensitive(["packed"])}),
        (
            {"auth": {"token": {"a": 1, "b": None}}},
            {"auth": {"token": {"a": Sensitive(1), "b": None}}},
        ),
        ({"auth": {"token": "****"}}, {"auth": {"token": WithheldSecret("masked")}}),
        ({"auth": {"token": ""}}, {"auth": {"token": WithheldSecret("omitted")}}),
        ({"auth": {"token": None}, "open": "****"}, {"auth": {"token": None}, "open": "****"}),
        ({"auth": {}, "open": None}, {"auth": {}, "open": None}),
        ("packed", Sensitive("packed")),
    ],
)
def test_what_stands_in_the_place_of_a_named_secret(value, shown):
    """Whatever the server answers there; what is beside it stays as it is."""
    marks = named(by_id={("plugin", "v1", "7"): frozenset({TOKEN_PATH})})
    raw = {"id": 7, "code": "yolo", "configuration": value}
    assert PLUGIN_V1.decode(raw, marks).spec["configuration"] == shown


def test_an_empty_container_is_empty_though_it_had_a_named_secret():
    """A manifest that took the secret out, and declares the rest as it is, differs in nothing."""
    marks = named(by_id={("storage", "v1", "7"): frozenset({("configuration", "a")})})
    spec = {"provider": "azure", "configuration": {}}
    made = wrap_secrets_and_withhold_masked("storage", spec, marks, "v1", "7")
    assert made["configuration"] == {}
