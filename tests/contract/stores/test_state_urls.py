"""From a target's `state.url` to its store."""

from __future__ import annotations

import subprocess
import sys

import pytest
from contract.stores.programs import surroundings
from contract.stores.samples import BINDING, LINEAGE, record

from synapse_apply import SynapseApplyError
from synapse_apply.model.errors import InputError, LockHeld
from synapse_apply.model.project import Project, StateSettings, Target
from synapse_apply.model.values import SecretRef
from synapse_apply.workspace.state_access import open_store, open_store_at_url


def target(url="", name="prod"):
    """A target that keeps its state there."""
    return Target(name, state=StateSettings(url))


@pytest.fixture
def project(tmp_path):
    """A project in a folder of its own."""
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", ".synapse-apply/state/prod.db"),
        ("shared/x.db", "shared/x.db"),
        ("sqlite:///shared/x.db", "shared/x.db"),
        ("file:///shared/x.db", "/shared/x.db"),
        ("/somewhere/x.db", "/somewhere/x.db"),
    ],
)
def test_a_path_is_a_file_from_the_projects_folder(project, url, path):
    """The default, and every way to name another one."""
    assert open_store(project, target(url), {}).where == str(project.root / path)


def test_the_unlock_command_names_the_target(project):
    """It can be copied as it stands."""
    store, other = (open_store(project, target(), {}) for _ in range(2))
    store.create_state(BINDING, LINEAGE)
    with store.lock("apply"), pytest.raises(LockHeld) as caught, other.lock("plan"):
        pytest.fail("two held one lock")
    assert caught.value.diagnostics[0].hint.endswith(" -t prod.")
    store.close()
    other.close()


@pytest.mark.parametrize("given", ["text", "variable"])
def test_a_url_of_postgresql_is_a_database(project, url, given):
    """Written down, or in a variable that the project file names."""
    at = target(url if given == "text" else SecretRef("env", "STATE_URL"))
    store = open_store(project, at, {"STATE_URL": url, "CI_JOB_URL": "https://ci.example/9"})
    store.create_state(BINDING, LINEAGE)
    with store.lock("apply"):
        store.write_records(record())
        assert store._lock.read_owner_or_none().run_url == "https://ci.example/9"
    assert "open-sesame" not in store.where
    store.close()


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://db/s", "postgresql://db/s?schema=synapse_apply_"),
        ("s3://acme", "s3://acme/synapse-apply/"),
        ("git:origin", "git:origin?ref=refs/synapse-apply/state/"),
    ],
)
def test_each_target_has_a_place_of_its_name(project, url, where):
    """One variable can serve all targets: a schema, a folder or a ref each, and nothing is asked yet."""
    for name in ("staging", "prod"):
        assert open_store(project, target(url, name), {}).where == f"{where}{name}"


def test_a_variable_that_is_not_set_is_named(project):
    """And how to set it."""
    with pytest.raises(SynapseApplyError) as caught:
        open_store(project, target(SecretRef("env", "STATE_URL")), {})
    assert "the target's state.url cannot be used: STATE_URL is not set" in str(
        caught.value.diagnostics[0].detail
    )


@pytest.mark.parametrize(
    "value",
    [
        *("t0ken-of-prod", "a/b+c==", "user:t0ken", "t0ken.dbx"),
        *("/t0ken-of-prod==", "/t0ken/of+prod==", "//t0ken", f"/{'t0ken' * 100}/{'x' * 300}"),
    ],
)
def test_a_value_that_is_no_url_is_not_repeated(project, value):
    """A commit may name the variable of a token: a path in one is told by its end, or its folder."""
    for source in (SecretRef("env", "TOKEN"), target(SecretRef("env", "TOKEN")).state.url):
        with pytest.raises(InputError) as caught:
            open_store_at_url(source, project, target(), {"TOKEN": value})
        said = str(caught.value.diagnostics)
        assert "TOKEN, whose value is neither a url nor a path" in said
        assert value not in said
        assert "t0ken" not in said
    for path in ("states/prod.db", "./state", f"{project.root}/state", "/none/there/prod.db"):
        at = target(SecretRef("env", "STATE_URL"))
        assert open_store(project, at, {"STATE_URL": path}).where.endswith(path.removeprefix("./"))


def test_another_sort_of_url_is_refused_without_being_repeated(project):
    """It may hold a password; its scheme is enough."""
    with pytest.raises(InputError) as caught:
        open_store_at_url("mysql://me:s3cr3t@db/s", project, target(), {})
    finding = caught.value.diagnostics[0]
    assert "mysql://." in finding.detail
    assert "s3cr3t" not in f"{finding.detail}{finding.hint}"


def test_a_url_of_a_bucket_is_a_folder_in_it(project, seaweed):
    """Its credentials are in the environment of the command, not in that of the process."""
    store = open_store(project, target(seaweed.url("a/b")), seaweed.environ)
    store.create_state(BINDING, LINEAGE)
    with store.lock("apply"):
        store.write_records(record())
    assert store.where == "s3://states/a/b"
    store.close()


def test_the_key_of_a_bucket_goes_to_hosts_that_may_have_it(project):
    """Whoever writes the project file names no other; what the environment names is its own."""
    limits = {"SYNAPSE_APPLY_HOSTS": "api.synapse.sh,minio.acme.example:9000"}
    open_store(project, target("s3://acme/x"), limits).close()
    open_store(project, target("s3://acme/x?endpoint=https://minio.acme.example:9000"), limits)
    open_store(
        project, target("s3://acme/x"), {**limits, "AWS_ENDPOINT_URL": "https://any.example"}
    )
    with pytest.raises(InputError) as caught:
        open_store(project, target("s3://acme/x?endpoint=https://evil.example"), limits)
    assert "may not go to this host" in caught.value.diagnostics[0].summary
    assert "endpoint= of state.url" in caught.value.diagnostics[0].hint


def test_the_token_of_azure_goes_to_accounts_that_may_have_it(project):
    """The account is the host; one of the operator's own variables is used as it is."""
    limits = {"SYNAPSE_APPLY_HOSTS": "api.synapse.sh,acme.blob.core.windows.net"}
    key = {"AZURE_STORAGE_ACCOUNT_KEY": "YWNtZQ=="}
    evil = "az://states/x?account=evilacct"
    open_store(project, target("az://states/x?account=acme"), {**limits, **key}).close()
    for own in (
        {"AZURE_STORAGE_ACCOUNT_NAME": "other"},
        {"AZURE_STORAGE_ENDPOINT": "https://azure.acme.example"},
    ):
        url = "az://states/x" if "AZURE_STORAGE_ACCOUNT_NAME" in own else evil
        open_store(project, target(url), {**limits, **key, **own}).close()
    by_variable = SecretRef("env", "STATE_URL")
    for url in (evil, "AZ://states?account=evilacct", by_variable):
        with pytest.raises(InputError) as caught:
            open_store(project, target(url), {**limits, **key, "STATE_URL": evil})
        assert "may not go to this host" in caught.value.diagnostics[0].summary
        assert "evilacct.blob.core.windows.net is not listed" in caught.value.diagnostics[0].detail
        assert "account= of state.url" in caught.value.diagnostics[0].hint


@pytest.mark.parametrize(
    "url",
    [
        "git:ssh://git@git.acme.example:22:evil/x",
        "git:ssh://git@git.acme.example:evil/x",
        "git:https://git.acme.example:99999/x",
        "git:ssh://git%40evil.example%2f@git.acme.example/x",
        "git:ssh://git@[evil.example]:22@git.acme.example/x",
        "git:ssh://evil.example@git@git.acme.example/x",
        "s3://acme/x?endpoint=https://git.acme.example:evil",
        "s3://acme/x?endpoint=https://git.acme.example:443:evil",
    ],
)
def test_a_host_that_readers_of_urls_may_take_for_another_is_refused(project, url):
    """Git decodes percent codes first, looks for brackets, and ssh reads the last `@`."""
    with pytest.raises(InputError) as caught:
        open_store(project, target(url), {"SYNAPSE_APPLY_HOSTS": "git.acme.example"})
    assert "evil" not in str(caught.value)


def test_a_repository_by_its_url_is_on_a_host_that_may_have_the_state(project):
    """Whoever writes the project file names no other; remotes of the clone are its owner's."""
    limits = {"SYNAPSE_APPLY_HOSTS": "api.synapse.sh,git.acme.example"}
    for url in ("git:origin", "git:https://git.acme.example/x", "git:ssh://git@git.acme.example/x"):
        open_store(project, target(url), limits)
    for url in ("git:https://evil.example/x", "git:ssh://git@evil.example/x"):
        with pytest.raises(InputError) as caught:
            open_store(project, target(url), limits)
        assert "may not go to this host" in caught.value.diagnostics[0].summary
        assert "state.url" in caught.value.diagnostics[0].hint


WITHOUT = """
import sys
sys.modules["psycopg"] = sys.modules["obstore"] = None
from pathlib import Path
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Project, Target
from synapse_apply.workspace.state_access import open_store_at_url
open_store_at_url("", Project(Path(".")), Target("prod"), {})
for url in ("postgresql://u:s3cr3t@db/s", "s3://acme/x"):
    try:
        open_store_at_url(url, Project(Path(".")), Target("prod"), {})
    except InputError as problem:
        print(problem.diagnostics[0].detail, problem.diagnostics[0].hint)
"""


def test_without_the_extra_its_name_is_said():
    """A state in a file needs nothing more."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        capture_output=True,
        text=True,
        check=True,
        env=surroundings(),
    )
    assert "pip install 'synapse-apply[postgres]'" in done.stdout
    assert "psycopg is not installed" in done.stdout
    assert "pip install 'synapse-apply[bucket]'" in done.stdout
    assert "obstore is not installed" in done.stdout


def test_a_state_in_a_file_costs_no_database_client():
    """They are imported when they are needed."""
    code = (
        "import sys; import synapse_apply.workspace.state_access;"
        " print({'psycopg', 'obstore', 'asyncio'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=surroundings(),
    )
    assert done.stdout == "set()\n"
