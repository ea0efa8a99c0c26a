"""Which variables and files a worker gets, of settings of any shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from synapse_apply.controller.settings import (
    Channel,
    Controller,
    ForgeStatus,
    HttpsToken,
    MayRead,
    SecretName,
    Source,
    SshKey,
)
from synapse_apply.controller.worker.access import (
    OwnSecretLocations,
    build_readable_files,
    build_worker_environment,
    narrow_hosts,
    own_secret_locations,
    readable_variable_names,
)

NOTHING_OWN = OwnSecretLocations(frozenset(), ())
HOME = Path("/home/of/source")


def env(name: str) -> SecretName:
    return SecretName("env", name)


def test_all_that_the_file_names_is_the_controllers_own(tmp_path):
    """Wherever it stands; files are from the folder of `controller.yaml` on."""
    status = ForgeStatus("github", "a/b", env("FORGE"), "https://api.example")
    sources = {
        "a": Source("a", "x", credentials=HttpsToken(env("https")), status=status),
        "b": Source("b", "x", credentials=SshKey(SecretName("file", "key"), env("KNOWN"))),
    }
    channel = Channel("c", "webhook", env("URL"), frozenset(), secret=env("SECRET"))
    file = tmp_path / "controller.yaml"
    own = own_secret_locations(Controller("main", sources, channels=(channel,), file=file))
    assert own.variables == {"FORGE", "HTTPS", "KNOWN", "URL", "SECRET"}
    assert own.files == (file, tmp_path / "key")


def build(source: Source, own: OwnSecretLocations = NOTHING_OWN, **environ: str) -> dict[str, str]:
    """The variables but for those by which ssh and libpq find nothing."""
    environment = build_worker_environment(source, own, environ, HOME)
    assert "IdentityFile=/dev/null" in environment.pop("GIT_SSH_COMMAND")
    assert environment.pop("PGPASSFILE").startswith(str(HOME))
    return environment


def test_nothing_but_what_a_process_needs_and_the_patterns_of_the_source():
    source = Source("a", "x", may_read=MayRead(("ACME_*", "ONE")))
    given = {"ACME_A": "1", "ONE": "2", "ONE_MORE": "3", "acme_b": "4", "HTTPS_PROXY": "p"}
    environment = build(source, PATH="/bin:relative:", TZ="UTC", PYTHONPATH="x", **given)
    assert environment == {
        "ACME_A": "1",
        "ONE": "2",
        "HTTPS_PROXY": "p",
        "TZ": "UTC",
        "PATH": "/bin",
        "HOME": str(HOME),
    }


def test_what_a_process_needs_is_not_for_targets():
    """A proxy may have a password."""
    source = Source("a", "x", may_read=MayRead(("ACME_*",)))
    environ = {"HTTPS_PROXY": "http://user:password@proxy", "PATH": "/bin", "ACME_A": "1"}
    assert readable_variable_names(source, NOTHING_OWN, environ) == ("ACME_A",)


def test_a_proxy_is_for_targets_by_its_name_alone():
    """A pattern opens none of the variables, in any case, by which servers are reached."""
    environ = dict.fromkeys(("HTTPS_PROXY", "http_proxy", "Ftp_Proxy", "NO_PROXY", "A"), "x")
    for opened, readable in ((("http_proxy",), ("http_proxy", "A")), ((), ("A",))):
        source = Source("a", "x", may_read=MayRead(("*",), opened=opened))
        assert readable_variable_names(source, NOTHING_OWN, environ) == readable


def test_a_pattern_for_all_gives_neither_own_secrets_nor_another_home():
    own = OwnSecretLocations(frozenset({"GIT_TOKEN"}), ())
    source = Source("a", "x", may_read=MayRead(("*",)))
    environment = build(source, own, git_token="x", GIT_TOKEN="y", HOME="/root", PATH="/bin", A="1")
    assert environment == {"A": "1", "PATH": "/bin", "HOME": str(HOME)}


def test_a_source_may_bring_its_own_way_to_ssh():
    source = Source("a", "x", may_read=MayRead(("GIT_SSH_COMMAND",)))
    environment = build_worker_environment(
        source, NOTHING_OWN, {"GIT_SSH_COMMAND": "ssh -i x"}, HOME
    )
    assert environment["GIT_SSH_COMMAND"] == "ssh -i x"


def test_hosts_are_those_of_the_source_else_the_controllers():
    """No pattern of a source widens them."""
    limited = Source("a", "x", hosts=("a.example", "b.example:8443"))
    free = Source("b", "x", may_read=MayRead(("*",)))
    given = {"SYNAPSE_APPLY_HOSTS": "c.example"}
    assert build(limited, **given)["SYNAPSE_APPLY_HOSTS"] == "a.example,b.example:8443"
    assert build(free, **given)["SYNAPSE_APPLY_HOSTS"] == "c.example"
    assert "SYNAPSE_APPLY_HOSTS" not in build(free)


def test_files_are_those_below_the_folders_of_the_source(tmp_path):
    """But neither the controller's own nor its data; beside a folder is not below it."""
    folder, data = tmp_path / "acme", tmp_path / "acme" / "data"
    own = OwnSecretLocations(frozenset(), (folder / "token",))
    source = Source("a", "x", may_read=MayRead((), (f"{folder}/",)))
    readable = build_readable_files(source, own, data)
    allowed = [folder / "key", folder / "deep" / "key", folder / "token.pub"]
    refused = [folder / "token", data / "store.db", tmp_path / "acme-2" / "key", tmp_path]
    assert [path for path in (*allowed, *refused) if readable.includes(path)] == allowed
    assert not build_readable_files(Source("b", "x"), own, data).includes(folder / "key")


@pytest.mark.parametrize(
    ("hosts", "limit", "left"),
    [
        (("dev.example",), None, "dev.example"),
        (("Dev.example", "new.example"), "dev.example, prod.example", "dev.example"),
        (("dev.example:8443",), "dev.example", "dev.example:8443"),
        (("dev.example:8443",), "dev.example:8443", "dev.example:8443"),
        (("dev.example",), "dev.example:8443", ","),
        (("other.example",), "dev.example", ","),
        (("dev.example:8443",), "", ","),
        (("dev.example",), "http://dev.example", "dev.example"),
        (("http://dev.example:80",), "http://dev.example", "http://dev.example:80"),
        (("http://dev.example",), "dev.example", ","),
    ],
)
def test_a_rule_narrows_the_hosts_of_its_source(hosts, limit, left):
    """It never adds one; where none is left, the text names no host at all."""
    assert narrow_hosts(hosts, limit) == left
