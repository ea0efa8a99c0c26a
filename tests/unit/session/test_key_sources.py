"""Where a state key is looked for, and where a new one goes."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.project import Project, StateSettings, Target
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.resolve import SecretResolver
from synapse_apply.workspace.state_key import KeySources, build_key_sources

ID = "5f1c2d60-0000-4000-8000-000000000001"
TEXTS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def sources(root: Path, environ: dict[str, str], key: SecretRef | None = None) -> KeySources:
    """Of target `prod`, whose project has an id; the user's home is beside the project."""
    project = Project(root, id=ID)
    key_file = key.name if key is not None and key.source == "file" else ""
    target = Target("prod", state=StateSettings(key=key, key_file=key_file))
    environ = {"XDG_CONFIG_HOME": str(root.parent / "settings"), **environ}
    return build_key_sources(
        project, target, environ, SecretResolver(root, environ).resolve_setting_or_reason
    )


def test_a_key_of_the_project_file_that_is_not_here(root: Path) -> None:
    """Another place stands in for it; without one, why it has no value is a warning."""
    for reference in (SecretRef("env", "OUR_KEY"), SecretRef("file", "keys/prod.key")):
        missing = sources(root, {"OUR_KEY": ""}, reference)
        keys = missing.load_keys()
        assert keys.current_key is None
        (finding,) = keys.warnings
        assert reference.name in finding.detail
        assert missing.environ["XDG_CONFIG_HOME"] not in finding.detail
        other = sources(root, {"SYNAPSE_APPLY_STATE_KEY": TEXTS[0]}, reference).load_keys()
        assert other.current_key is not None
        assert other.warnings == ()


def test_a_key_of_the_project_file_that_is_none_is_an_error(root: Path) -> None:
    """What is there and unusable is no reason to take another key."""
    (root / "prod.key").write_bytes(b"\xff\xfe")
    unusable = SecretRef("file", "prod.key")
    with pytest.raises(SecretUnavailable):
        sources(root, {}, unusable).load_keys()
    assert sources(root, {"SYNAPSE_APPLY_STATE_KEY": TEXTS[0]}, unusable).load_keys().current_key
    (root / "prod.key").write_text("short")
    with pytest.raises(InputError) as caught:
        sources(root, {}, SecretRef("file", "prod.key")).load_keys()
    assert str(root / "prod.key") in caught.value.diagnostics[0].detail


def test_where_a_new_key_goes(root: Path) -> None:
    """Into the file of the one in use; nowhere if that is a variable's."""
    declared = sources(root, {}, SecretRef("file", "prod.key"))
    users = sources(root, {})
    assert users.user_key_path is not None
    assert users.find_renewable_file(users.load_keys()) == users.user_key_path
    first = users.make_or_read_key_file(users.user_key_path)
    assert users.renew_key_in_file_keeping_old(users.user_key_path) != first
    assert users.find_renewable_file(users.load_keys()) == users.user_key_path
    users.user_key_path.unlink()  # a renewal that was cut short
    assert users.load_keys().current_key == first
    assert users.find_renewable_file(users.load_keys()) == users.user_key_path
    (root / "prod.key").write_text(TEXTS[1])
    assert declared.find_renewable_file(declared.load_keys()) == root / "prod.key"
    of_variable = sources(root, {"SYNAPSE_APPLY_STATE_KEY_PROD": TEXTS[2]})
    assert of_variable.find_renewable_file(of_variable.load_keys()) is None
