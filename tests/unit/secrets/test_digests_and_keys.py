"""State keys and the keyed digests made with them."""

from __future__ import annotations

import base64
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synapse_apply.model.errors import InputError
from synapse_apply.model.ports import Secrets
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secrets import macs
from synapse_apply.secrets.keys import (
    KEY_VARIABLE,
    DeclaredKey,
    StateKey,
    StateKeys,
    create_or_read_key,
    load_keys_and_restrict_files,
    replace_key_file,
)
from synapse_apply.secrets.resolve import SecretResolver, SecretStore

KEY = StateKey(bytes(range(32)), "test")
OTHER = StateKey(bytes(range(1, 33)), "test")


def digest(value: object, salt: str = "s", path: tuple[str | int, ...] = ("a",)) -> str:
    """The digest under the test's key."""
    return macs.compute_mac(KEY, salt, path, Sensitive(value)).digest


def test_equal_values_have_equal_digests() -> None:
    """Key order and the spelling of a number do not matter."""
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2.0], "a": 1.0})


def test_salt_path_value_and_key_all_count() -> None:
    """And nothing can be moved from one into the other."""
    made = [
        digest("v"), digest("w"), digest(1), digest(True), digest("1"), digest(["v"]),
        digest("v", "t"), digest("v", "s", ("b",)), digest("v", "s", ("a", "b")),
        digest("v", "s", ("a/b",)), digest("v", "s/a", ()), digest("v", "s", ()),
        macs.compute_mac(OTHER, "s", ("a",), Sensitive("v")).digest,
    ]  # fmt: skip
    assert len(set(made)) == len(made)


def test_the_format_of_digests_is_fixed() -> None:
    """Stored digests must hold in every later version."""
    assert KEY.key_id == "d973adf10a90ab40"
    assert digest("v") == "a419807ae352bc056e93ea30739916e75941b25d58db4a895f73fd401b3937e2"


def test_a_digest_names_its_key() -> None:
    """So that another key is told from another value."""
    assert macs.compute_mac(KEY, "s", ("a",), Sensitive("v")).key_id == KEY.key_id != OTHER.key_id


def test_salts_differ() -> None:
    """128 bits, in hex."""
    assert len({macs.generate_salt() for _ in range(50)}) == 50
    assert len(bytes.fromhex(macs.generate_salt())) == 16


def test_a_created_key_is_private_and_stays(tmp_path: Path) -> None:
    """0600, and the same key the next time."""
    path = tmp_path / ".synapse-apply" / "state" / "prod.key"
    made = create_or_read_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert create_or_read_key(path) == made
    assert load_keys_and_restrict_files({}, path).all_keys == (made,)
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_created_unless_asked(tmp_path: Path) -> None:
    """A plan leaves no file behind."""
    assert load_keys_and_restrict_files({}, tmp_path / "k").current_key is None
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Whoever comes second takes the first one's key."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_or_read_key(tmp_path / "k"), range(16)))
    assert len(set(made)) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "k"]


def test_the_variable_wins_and_the_file_still_checks(tmp_path: Path) -> None:
    """Digests of before stay readable."""
    path = tmp_path / "k"
    in_file = create_or_read_key(path)
    keys = load_keys_and_restrict_files(
        {KEY_VARIABLE: base64.b64encode(KEY.reveal()).decode()}, path
    )
    assert keys.all_keys == (KEY, in_file)


def test_keys_in_their_order(tmp_path: Path) -> None:
    """Variable, project file, files in turn; the keys before them only check."""
    texts = [base64.b64encode(bytes([number]) * 32).decode() for number in range(4)]
    files = [tmp_path / name for name in ("user", "own")]
    before = [create_or_read_key(file) for file in files]
    now = [replace_key_file(file) for file in files]
    declared = DeclaredKey(Sensitive(texts[2]), "/run/key", tmp_path / "declared")
    environ = {KEY_VARIABLE: texts[1], f"{KEY_VARIABLE}_PROD": texts[0]}
    keys = load_keys_and_restrict_files(environ, *files, target="prod", declared_key=declared)
    named = [StateKey(bytes([number]) * 32, "") for number in range(3)]
    assert keys.all_keys == (*named, *now, *before)
    assert [key.origin for key in keys.all_keys[:4]] == [
        "SYNAPSE_APPLY_STATE_KEY_PROD",
        "SYNAPSE_APPLY_STATE_KEY",
        "/run/key",
        str(files[0]),
    ]
    files[0].unlink()
    assert load_keys_and_restrict_files({}, *files).all_keys == (now[1], *before)


def test_wide_permissions_are_narrowed_with_a_warning(tmp_path: Path) -> None:
    """The key works, and the user is told."""
    path = tmp_path / "k"
    key = create_or_read_key(path)
    path.chmod(0o644)
    keys = load_keys_and_restrict_files({}, path)
    assert keys.current_key == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [finding.summary for finding in keys.warnings] == ["State key was readable by others"]


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("???", "State key is not base64"),
        ("c2hvcnQ=", "State key is too short"),
        ("   ", "State key is too short"),
    ],
)
def test_unusable_keys_are_explained(tmp_path: Path, text: str, summary: str) -> None:
    """In the variable and in the file, with the command that makes one; never the key."""
    (tmp_path / "k").write_text(text)
    (tmp_path / "k").chmod(0o600)
    for environ, path in (({KEY_VARIABLE: text}, tmp_path / "none"), ({}, tmp_path / "k")):
        with pytest.raises(InputError) as caught:
            load_keys_and_restrict_files(environ, path)
        found = caught.value.diagnostics[0]
        assert found.summary == summary
        assert "openssl rand" in found.hint
        assert text.strip() == "" or text not in repr(found)


def test_a_file_that_is_not_needed_stops_nothing(tmp_path: Path) -> None:
    """The variable is enough, and so is the file beside the key before it; a warning says which."""
    file, previous = tmp_path / "k", tmp_path / "k.previous"
    for one in (file, previous):
        one.touch(0o600)
    environ = {KEY_VARIABLE: base64.b64encode(KEY.reveal()).decode()}
    keys = load_keys_and_restrict_files(environ, file)
    assert keys.all_keys == (KEY,)
    for one, finding in zip((file, previous), keys.warnings, strict=True):
        assert f"State key is too short: The key in {one} has 0 bytes" in finding.detail
    file.unlink()
    made = create_or_read_key(file)
    keys = load_keys_and_restrict_files({}, file)
    assert keys.all_keys == (made,)
    assert len(keys.warnings) == 1


def test_a_key_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "state").write_text("")
    with pytest.raises(InputError) as caught:
        create_or_read_key(tmp_path / "state" / "k")
    assert KEY_VARIABLE in caught.value.diagnostics[0].hint


@pytest.mark.parametrize("spelling", ["standard", "urlsafe", "unpadded", "wrapped"])
def test_keys_may_be_spelled_as_tools_spell_them(tmp_path: Path, spelling: str) -> None:
    """Both alphabets, with or without padding and line breaks."""
    data = b"\xfb\xff" * 20
    plain = base64.b64encode(data).decode()
    text = {
        "standard": plain,
        "urlsafe": base64.urlsafe_b64encode(data).decode(),
        "unpadded": plain.rstrip("="),
        "wrapped": plain[:20] + "\n" + plain[20:] + "\n",
    }[spelling]
    key = load_keys_and_restrict_files({KEY_VARIABLE: text}, tmp_path / "none").current_key
    assert key is not None
    assert key.reveal() == data


def test_a_key_never_prints_or_pickles() -> None:
    """Its id tells nothing of it."""
    key = StateKey(b"canary-key-canary-key-canary-key", "test")
    for text in (repr(key), str(key), f"{key}", repr(StateKeys((key,)))):
        assert "canary" not in text
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_the_store_reads_each_value_once(tmp_path: Path) -> None:
    """A file that changes in the middle of a run does not give two values."""
    (tmp_path / "k").write_text("one")
    store: Secrets = SecretStore(SecretResolver(tmp_path, {}), StateKeys((KEY,)))
    ref = SecretRef("file", "k")
    assert store.resolve_secret(ref).reveal() == "one"
    (tmp_path / "k").write_text("two")
    assert store.resolve_secret(ref).reveal() == "one"


def test_the_store_digests_under_the_current_key(tmp_path: Path) -> None:
    """And checks under any key it has."""
    store = SecretStore(SecretResolver(tmp_path, {}), StateKeys((KEY, OTHER)))
    value = Sensitive("v")
    assert store.key_id == KEY.key_id
    assert store.compute_mac("s", ("a",), value) == macs.compute_mac(KEY, "s", ("a",), value)
    old = macs.compute_mac(OTHER, "s", ("a",), value)
    assert store.matches_mac(old, "s", ("a",), value) is True
    assert store.matches_mac(old, "s", ("a",), Sensitive("w")) is False
    foreign = macs.compute_mac(StateKey(b"x" * 32, "test"), "s", ("a",), value)
    assert store.matches_mac(foreign, "s", ("a",), value) is None


def test_without_a_key_nothing_is_digested(tmp_path: Path) -> None:
    """Then no change is seen, and no update made."""
    store = SecretStore(SecretResolver(tmp_path, {}))
    assert store.key_id == ""
    assert store.compute_mac("s", ("a",), Sensitive("v")) is None


def test_the_place_of_a_secret_is_known_where_no_commit_can_change_it(tmp_path: Path) -> None:
    """Another Vault is another place; a file of the project, and a text of a manifest, are none."""
    vault = SecretRef("vault", "kv/a key", arguments=(("key", "key"), ("path", "kv/a")))
    places = [
        SecretResolver(tmp_path, settings={"vault": {"address": address}}).find_place(vault)
        for address in ("https://one.example", "https://one.example", "https://two.example")
    ]
    assert places[0] == places[1] != places[2]
    resolver = SecretResolver(tmp_path)
    assert resolver.find_place(SecretRef("env", "A")) != resolver.find_place(SecretRef("env", "B"))
    assert resolver.find_place(SecretRef("file", "/run/secrets/a"))
    sops = SecretRef("sops", "a of f", arguments=(("file", "f"), ("key", "a")))
    inside = SecretRef("file", "keys/../key.txt"), SecretRef("file", str(tmp_path / "k")), sops
    literal = SecretRef("literal", literal=Sensitive("value"))
    assert {resolver.find_place(ref) for ref in (*inside, literal)} == {""}
