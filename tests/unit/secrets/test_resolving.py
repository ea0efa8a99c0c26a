"""Where secret values come from, and what may not be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secrets.resolve import SecretResolver


def detail_of(resolver: SecretResolver, ref: SecretRef) -> str:
    """The detail of the refusal, after checking that it carries a hint."""
    with pytest.raises(SecretUnavailable) as caught:
        resolver.resolve_secret(ref)
    assert caught.value.diagnostics[0].hint
    return caught.value.diagnostics[0].detail


def test_a_variable_gives_its_value_as_it_stands(tmp_path: Path) -> None:
    """Variables keep their newlines: nobody added one by accident."""
    resolver = SecretResolver(tmp_path, {"RAW_KEY": "abc\n"}, ["RAW_*"])
    assert resolver.resolve_secret(SecretRef("env", "RAW_KEY")).reveal() == "abc\n"


def test_without_an_allow_list_any_other_variable_may_be_read(tmp_path: Path) -> None:
    """Only the forbidden ones stay closed."""
    assert (
        SecretResolver(tmp_path, {"PW": "x"}).resolve_secret(SecretRef("env", "PW")).reveal() == "x"
    )


def test_an_unset_variable_is_named(tmp_path: Path) -> None:
    """The detail reads well after `not checked:`."""
    assert (
        detail_of(SecretResolver(tmp_path, {}), SecretRef("env", "RAW_KEY")) == "RAW_KEY is not set"
    )


def test_a_variable_outside_the_allow_list_is_refused(tmp_path: Path) -> None:
    """Patterns are case-sensitive."""
    resolver = SecretResolver(tmp_path, {"raw_key": "x"}, ["RAW_*"])
    assert "allow_env" in detail_of(resolver, SecretRef("env", "raw_key"))


@pytest.mark.parametrize(
    "name",
    [
        "SYNAPSE_APPLY_STATE_KEY",
        "SYNAPSE_PROD_TOKEN",
        "GITHUB_TOKEN",
        "gh_token",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "CI_JOB_TOKEN",
        "FORGEJO_TOKEN",
        "SEMAPHORE_OIDC_TOKEN",
        "BUILDKITE_AGENT_TOKEN",
        "CI_JOB_JWT_V2",
        "CI_REGISTRY_PASSWORD",
        "CI_DEPENDENCY_PROXY_PASSWORD",
        "SYSTEM_ACCESSTOKEN",
    ],
)
def test_tokens_of_this_tool_and_of_ci_jobs_are_never_readable(tmp_path: Path, name: str) -> None:
    """Not even when the allow-list says so."""
    resolver = SecretResolver(tmp_path, {name: "x"}, ["*", name])
    assert "can never read" in detail_of(resolver, SecretRef("env", name))


def test_the_project_files_own_reference_may_read_a_token(tmp_path: Path) -> None:
    """The project file is trusted where a manifest is not."""
    resolver = SecretResolver(tmp_path, {"SYNAPSE_PROD_TOKEN": "t"}, ["RAW_*"])
    assert resolver.resolve_setting(SecretRef("env", "SYNAPSE_PROD_TOKEN")).reveal() == "t"


@pytest.mark.parametrize(
    ("written", "value"),
    [(b"v", "v"), (b"v\n", "v"), (b"v\r\n", "v"), (b"v\n\n", "v\n"), (b" v ", " v ")],
)
def test_one_trailing_newline_of_a_file_is_dropped(
    tmp_path: Path, written: bytes, value: str
) -> None:
    """What editors add goes; what is meant stays."""
    (tmp_path / "k").write_bytes(written)
    assert SecretResolver(tmp_path, {}).resolve_secret(SecretRef("file", "k")).reveal() == value


def test_files_that_cannot_be_a_secret_are_refused(tmp_path: Path) -> None:
    """Missing, folder, pipe, too large, not text, empty, fetched by LFS: in words of its own."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (1024 * 1024 + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    resolver = SecretResolver(tmp_path, {"EMPTY": ""})
    said = {name: detail_of(resolver, SecretRef("file", name)) for name in
            ("missing", "folder", "pipe", "large", "binary", "empty", "pointer")}  # fmt: skip
    assert said == {
        "missing": "the file missing does not exist",
        "folder": "folder is not a file",
        "pipe": "pipe is not a file",
        "large": "large is larger than 1 MiB",
        "binary": "binary is not UTF-8 text",
        "empty": "empty is empty",
        "pointer": "pointer is a Git LFS pointer, not the file itself",
    }
    assert detail_of(resolver, SecretRef("env", "EMPTY")) == "EMPTY is empty"


def test_files_outside_the_project_need_the_allow_list(tmp_path: Path) -> None:
    """By the way up, by an absolute path, by a link: all are outside."""
    project = tmp_path / "project"
    project.mkdir()
    outside = tmp_path / "outside.key"
    outside.write_text("v")
    (project / "link").symlink_to(outside)
    closed = SecretResolver(project, {})
    for name in ("../outside.key", str(outside), "link"):
        assert "allow_files" in _hint(closed, name)
    opened = SecretResolver(project, {}, (), ["../outside.key"])
    for name in ("../outside.key", str(outside), "link"):
        assert opened.resolve_secret(SecretRef("file", name)).reveal() == "v"


def _hint(resolver: SecretResolver, name: str) -> str:
    with pytest.raises(SecretUnavailable) as caught:
        resolver.resolve_secret(SecretRef("file", name))
    return caught.value.diagnostics[0].hint


def test_a_listed_name_inside_the_project_cannot_become_a_way_out(tmp_path: Path) -> None:
    """A pull request can replace such a file by a link; the list speaks of files outside."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "outside").write_text("v")
    (project / "key").symlink_to("../outside")
    resolver = SecretResolver(project, {}, (), ["key"])
    assert "outside the project" in detail_of(resolver, SecretRef("file", "key"))


def test_a_listed_file_outside_may_be_a_link(tmp_path: Path) -> None:
    """Mounted secrets are links to a versioned folder."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "data").write_text("v")
    (tmp_path / "mounted").symlink_to("data")
    resolver = SecretResolver(project, {}, (), ["../mounted"])
    assert resolver.resolve_secret(SecretRef("file", "../mounted")).reveal() == "v"


@pytest.mark.parametrize("name", [".synapse-apply/state/prod.key", ".git/config"])
def test_the_state_key_and_the_checkouts_credentials_are_never_read(
    tmp_path: Path, name: str
) -> None:
    """Not even when listed, nor through a link."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("v")
    (tmp_path / "link").symlink_to(name)
    resolver = SecretResolver(tmp_path, {}, (), [name])
    for way in (name, "link"):
        assert "in a folder that manifests may not read" in detail_of(
            resolver, SecretRef("file", way)
        )


def test_json_gives_structured_values(tmp_path: Path) -> None:
    """Numbers, lists and maps as they are."""
    resolver = SecretResolver(tmp_path, {"CRED": '{"type": "x", "n": [1, 2.5]}'})
    value = resolver.resolve_secret(SecretRef("env", "CRED", "json")).reveal()
    assert value == {"type": "x", "n": [1, 2.5]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": \n s3cr3t}', "line 2, column 2"),
        ('{"a": 1, "a": 2}', "a key is given twice"),
        ("[1e999]", "a number is out of range"),
        (f"{'[' * 500}1{']' * 500}", "it nests too deeply"),
        ("[NaN]", "out of range"),
        ("[" * 100_000, "nests too deeply"),
        ("null", "empty JSON value"),
        ('""', "empty JSON value"),
    ],
)
def test_bad_json_is_explained_without_its_content(tmp_path: Path, text: str, said: str) -> None:
    """A place, never a piece of the text."""
    detail = detail_of(SecretResolver(tmp_path, {"CRED": text}), SecretRef("env", "CRED", "json"))
    assert said in detail
    assert "s3cr3t" not in detail


def test_literals_are_given_and_live_values_are_not(tmp_path: Path) -> None:
    """What the server keeps is not ours to read."""
    resolver = SecretResolver(tmp_path, {})
    literal = SecretRef("literal", literal=Sensitive("v"))
    assert resolver.resolve_secret(literal).reveal() == "v"
    assert "kept on the server" in detail_of(resolver, SecretRef("live"))


def test_unknown_sources_and_formats_are_named(tmp_path: Path) -> None:
    """Neither ends in a traceback."""
    resolver = SecretResolver(tmp_path, {"A": "v"})
    assert "'keyring'" in detail_of(resolver, SecretRef("keyring", "x"))
    assert "'toml'" in detail_of(resolver, SecretRef("env", "A", "toml"))
