"""Values of files that the real sops has encrypted, and what is said where there is none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import sops
from contract.secret_sources.conftest import CANARY, PLAIN, Place

from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.secret_sources.sops import reader as sops_reader

SECRET = "raw-data/secret_access_key"


@pytest.mark.parametrize(
    ("key", "value"),
    [(SECRET, CANARY), ("raw-data/hosts/0", "a"), ("raw-data/hosts/1/name", "b"),
     ("a~1b", "slash"), ("emoji", "\U0001f600")],
)  # fmt: skip
def test_a_value_at_a_path(place: Place, key: str, value: str) -> None:
    """Also in a list, and below a name with a slash."""
    assert place.value(key) == value
    assert place.denial(key) == ""


def test_a_file_in_json(place: Place) -> None:
    """With tabs, as sops writes it."""
    place.file.write_text(sops.encrypt(PLAIN, form="json"))
    assert "\t" in place.file.read_text()
    assert place.value(SECRET) == CANARY


def test_a_structured_value_needs_its_format(place: Place) -> None:
    """As for the other sources."""
    assert place.value("raw-data/hosts", "json") == ["a", {"name": "b"}]
    assert place.value("raw-data/port", "json") == 8080
    assert "raw-data/port of secrets/prod.yaml is not text" in place.failure("raw-data/port")


def test_sops_starts_once_a_file_a_run_with_one_key_and_nothing_else(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in our environment, and wherever the command was started."""
    log = tmp_path / "log"
    script = f'echo "$@" >> {log}; env >> {log}; ls -A "$HOME" >> {log}; exec "$SOPS" "$@"'
    monkeypatch.setenv("PATH", sops.install(tmp_path / "logging", script))
    monkeypatch.setenv("SOPS_KEYSERVICE", "tcp://127.0.0.1:9")
    (tmp_path / "project" / ".sops.yaml").write_text("broken: [")
    monkeypatch.chdir(tmp_path / "project")
    resolver = place.resolver()
    for key in (SECRET, "raw-data/hosts/0", SECRET):
        place.value(key, resolver=resolver)
    lines = log.read_text().splitlines()
    started = [line for line in lines if line.startswith("--")]
    assert started == [
        "--version --disable-version-check",
        "--config /dev/null decrypt --input-type yaml --output-type json /dev/stdin",
    ]
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    homes = [line.removeprefix("HOME=") for line in lines if line.startswith("HOME=")]
    assert variables.keys() - {"PWD", "_", "OLDPWD", "SHLVL"} == {
        "PATH", "HOME", "LC_ALL", "SOPS_AGE_KEY", "AWS_EC2_METADATA_DISABLED",
        "SOPS_DISABLE_VERSION_CHECK",
    }  # fmt: skip
    # Empty, and gone.
    assert [line for line in lines if not line.startswith("--") and "=" not in line] == []
    assert not any(map(os.path.lexists, homes))


def test_a_failure_is_the_same_for_all_values_of_a_run(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sops is not started again with a key that does not fit."""
    script = f'echo "$1" >> {tmp_path}/log; exec "$SOPS" "$@"'
    monkeypatch.setenv("PATH", sops.install(tmp_path / "logging", script))
    place.environ["AGE_KEY"] = sops.OTHER_KEY
    resolver = place.resolver()
    for _ in range(2):
        with pytest.raises(SecretUnavailable) as caught:
            place.value(SECRET, resolver=resolver)
        assert "does not match any of its age keys" in caught.value.diagnostics[0].detail
    assert (tmp_path / "log").read_text() == "--version\n--config\n"


def test_no_program(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """`validate` needs none."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "the program sops is not on PATH. Install sops 3.9 or newer" in place.failure()
    assert place.denial() == ""


def test_a_program_in_the_checkout_is_not_started(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit can put one there."""
    path = sops.install(place.root / "bin", f"echo started > {place.root}/proof")
    monkeypatch.setenv("PATH", path)
    assert "not on PATH" in place.failure()
    assert not (place.root / "proof").exists()


@pytest.mark.parametrize("version", ["3.8.1", "3.7.3", "1.18"])
def test_a_program_that_is_too_old(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """It is told which was found."""
    path = sops.install(tmp_path / "old", f"echo sops {version} '(latest)'")
    monkeypatch.setenv("PATH", path)
    said = place.failure()
    assert f"sops {version} is too old: 3.9 is needed" in said
    assert f"{tmp_path}/old/sops was found first on PATH" in said


def test_a_program_that_does_not_end(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a server."""
    script = 'case "$1" in --version) exec "$SOPS" "$@";; esac; exec sleep 60'
    monkeypatch.setenv("PATH", sops.install(tmp_path / "slow", script))
    monkeypatch.setattr(sops_reader, "TIMEOUT_SECONDS", 0.3)
    assert "sops did not decrypt secrets/prod.yaml in 0.3 s" in place.failure()


@pytest.mark.parametrize("code", [1, 3, 25, 99])
def test_the_words_of_a_program_that_fails_are_not_shown(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It quotes values that stand in plain text."""
    script = f'case "$1" in --version) exec "$SOPS" "$@";; esac; echo cAn4ry >&2; echo cAn4ry; exit {code}'
    monkeypatch.setenv("PATH", sops.install(tmp_path / "bad", script))
    assert "secrets/prod.yaml" in place.failure()


def test_a_program_that_answers_something_else(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that is no document is none."""
    monkeypatch.setenv("PATH", sops.install(tmp_path / "odd", "echo cAn4ry"))
    assert "sops did not return the decrypted content of secrets/prod.yaml" in place.failure()


def test_a_key_that_does_not_fit(place: Place) -> None:
    """By the names of the variables."""
    place.environ["AGE_KEY"] = sops.OTHER_KEY
    said = place.failure()
    assert "no key opens secrets/prod.yaml: AGE_KEY does not match any of its age keys" in said
    assert "sops updatekeys secrets/prod.yaml" in said
    place.environ["AGE_KEY"] = "cAn4ry-no-key"
    assert "AGE_KEY does not contain an age key" in place.failure()
    place.environ["AGE_KEY"] = ""
    assert "AGE_KEY is not set, but needed to decrypt secrets/prod.yaml" in place.failure()


def test_a_changed_file(place: Place, encrypted_text: str) -> None:
    """A value that is not encrypted is under the MAC as well; two that changed places do not open."""
    changed = encrypted_text.replace("when_unencrypted: 2020", "when_unencrypted: 2021")
    place.file.write_text(changed)
    said = place.failure()
    assert "the MAC of secrets/prod.yaml does not match: it was changed after sops" in said
    lines = encrypted_text.splitlines()
    at = {line.split(":")[0].strip(): index for index, line in enumerate(lines)}
    key, other = at["secret_access_key"], at["port"]
    name, value = lines[key].split(": ")[0], lines[other].split(": ")[1]
    place.file.write_text("\n".join([*lines[:key], f"{name}: {value}", *lines[key + 1 :]]))
    assert "a value of secrets/prod.yaml cannot be decrypted: it was changed" in place.failure()


def test_a_value_in_plain_text(place: Place, encrypted_text: str) -> None:
    """It was left out by a rule, or written by hand: known before sops starts."""
    said = place.failure("when_unencrypted")
    assert "when_unencrypted is in plain text in secrets/prod.yaml" in said
    assert said == place.denial("when_unencrypted")
    lines = encrypted_text.splitlines()
    lines = [
        f"{line.split(':')[0]}: cAn4ry" if "secret_access_key" in line else line for line in lines
    ]
    place.file.write_text("\n".join(lines))
    assert "raw-data/secret_access_key is in plain text" in place.failure()
    assert "raw-data is in plain text" in place.failure("raw-data", "json")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("raw-data/secret_acces_key", "did you mean `secret_access_key`?"),
        ("raw-data/x", "known: empty, hosts, port, secret_access_key"),
        (
            "raw-data/hosts/2",
            "The value is a list of 2 items; specify an item by its index, starting at 0.",
        ),
        ("raw-data/hosts/-1", "The value is a list of 2 items"),
        ("raw-data/port/x", "The path ends before `x`: the value there is not a mapping."),
        ("sops/mac", "known: a/b, "),
    ],
)
def test_a_path_that_leads_nowhere(place: Place, key: str, said: str) -> None:
    """The names beside it are told; `validate` knows, too."""
    assert f"secrets/prod.yaml has no {key}. " in place.failure(key)
    assert said in place.failure(key)
    assert place.failure(key) == place.denial(key)


def test_an_empty_value(place: Place) -> None:
    """It is almost always a mistake."""
    assert "raw-data/empty of secrets/prod.yaml is empty" in place.failure("raw-data/empty")


def test_doctor_is_told_which_key_is_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And why the others are not."""
    server = {"keys": ["https://vault.example/v1/sops/keys/k"]}
    place.settings = {
        "sops": {
            "age": {"env": "AGE_KEY"},
            "pgp": {"home": {"env": "GNUPG"}},
            "hc_vault": server,
        }
    }
    offers = place.resolver().list_setting_offers_by_source()["sops"]
    used, *others = map(str, offers)
    assert used.startswith("age from AGE_KEY, by sops 3.")
    assert others == ["pgp (GNUPG is not set)", "hc_vault (listed without a credential)"]
    monkeypatch.setenv("PATH", "/nonexistent")
    (offer,) = place.resolver().list_setting_offers_by_source()["sops"]
    assert str(offer) == "the program sops is not on PATH"


def test_a_file_of_a_commit(place: Place, encrypted_text: str) -> None:
    """Plans of other revisions: the checkout's file is not read."""
    place.file.unlink()
    committed = {"secrets/prod.yaml": encrypted_text.encode()}
    resolver = place.resolver(read_committed_file=committed.get)
    assert place.value(SECRET, resolver=resolver) == CANARY
    assert place.denial(read_committed_file=committed.get) == ""


def test_a_file_for_several_groups_of_keys(place: Place, tmp_path: Path) -> None:
    """Of which all are needed."""
    rules = tmp_path / "rules.yaml"
    groups = [{"age": [sops.RECIPIENT]}, {"age": [sops.OTHER_RECIPIENT]}]
    rules.write_text(
        json.dumps({"creation_rules": [{"shamir_threshold": 2, "key_groups": groups}]})
    )
    options = ("--config", str(rules))
    place.file.write_text(
        sops.run_sops(
            *options, "encrypt", "--filename-override", "a.yaml", "/dev/stdin", text=PLAIN
        )
    )
    assert "no key opens" in place.failure()
    place.environ["AGE_KEY"] = f"{sops.KEY}\n{sops.OTHER_KEY}\n"
    assert place.value(SECRET) == CANARY
