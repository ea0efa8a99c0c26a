"""Proxies of the environment: nobody sees their logins, and nothing for this machine goes to one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering import Answering, Asked, answering
from attack.test_databases_of_states import make_site
from attack.two_targets import Checkout
from git_repositories import git

from synapse_apply.controller.ports import SourceUnavailable
from synapse_apply.controller.settings import HttpsToken, SecretName, Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.model.values import Sensitive

PASSWORD = "Prox/Passw0rd-of-Acme"
LOGIN = f"svc:{PASSWORD}"
SENT = base64.b64encode(LOGIN.encode()).decode()
WRITTEN = LOGIN.replace("/", "%2F")
TOKEN = "token-of-the-source-123"
BUCKETS: list[tuple[str, dict[str, str]]] = [
    ("az://states/prod?account=acct", {"AZURE_STORAGE_TOKEN": "bearer-of-azure"}),
    ("az://states/prod?account=acct", {"AZURE_STORAGE_SAS_TOKEN": "sv=1&ss=b&sig=9f8E7d6C5b"}),
    (
        "s3://states/prod?region=eu-west-1",
        {
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_SECRET_ACCESS_KEY": "x" * 20,
            "AWS_SESSION_TOKEN": "session-token",
        },
    ),
]


def refuse(asked: Asked) -> Any:
    """Repeats the login that it was sent, as it is and as it means it."""
    sent = asked.headers.get("Proxy-Authorization", "")
    meant = base64.b64decode(sent.partition(" ")[2]).decode()
    return 400, {"detail": f"bad: {meant} / {sent}", "errors": [meant.replace("/", "%2F")]}


@pytest.fixture
def proxy() -> Iterator[Answering]:
    with answering(refuse) as listening:
        yield listening


def proxies(url: str, *names: str) -> dict[str, str]:
    names = names or ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy")
    return {**dict.fromkeys(names, url), "NO_PROXY": "", "no_proxy": ""}


def site_of(folder: Path, url: str, **environ: str) -> Checkout:
    """A project whose backend is at a url."""
    target = {"url": url, "token": {"env": "TOKEN"}}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": target}}
    (folder / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")
    (folder / "manifests").mkdir()
    return Checkout(folder, {"TOKEN": "token-of-prod", **environ})


@pytest.mark.parametrize(
    "names", [("HTTP_PROXY",), ("http_proxy",), ("all_proxy",), ("ALL_PROXY",)]
)
@pytest.mark.parametrize("typed", ["get job 7", "doctor", "doctor --json", "get storages"])
def test_the_login_that_a_proxy_repeats_is_not_shown(
    tmp_path: Path, proxy: Answering, typed: str, names: tuple[str, ...]
) -> None:
    """In any spelling, whichever variable named the proxy."""
    at = proxy.url.replace("://", f"://{WRITTEN}@")
    said = site_of(tmp_path, "http://backend.example.com", **proxies(at, *names)).run(typed, None)
    assert f"Basic {SENT}" in {one.headers.get("Proxy-Authorization") for one in proxy.asked}
    assert "400" in said
    for text in (PASSWORD, WRITTEN.partition(":")[2], SENT):
        assert text not in said
        assert text[:9] not in said


@pytest.mark.parametrize("password", ["Passw0rd-of-Acme", f"{PASSWORD}/x"])
@pytest.mark.parametrize("is_source", [True, False], ids=["a source", "a state"])
def test_git_does_not_show_the_login_of_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, *, is_source: bool
) -> None:
    """Which it repeats with the url that it takes for no proxy's."""
    way = proxies(f"http://svc:{password}@proxy.example:80/x")
    url = "https://git.example/a.git"
    said = (
        fetch(url, tmp_path, monkeypatch, way)
        if is_source
        else make_site(tmp_path, f"git:{url}", **way).run("state show", 1)
    )
    assert "Invalid proxy URL" in said
    assert password not in said
    assert password[:9] not in said


def fetch(url: str, folder: Path, patch: pytest.MonkeyPatch, environ: dict[str, str]) -> str:
    """What is said of a source of a controller that cannot be read."""
    for name, value in environ.items():
        patch.setenv(name, value)
    source = Source("acme", url, credentials=HttpsToken(SecretName("env", "GIT_TOKEN"), user="x"))
    with pytest.raises(SourceUnavailable) as refused:
        GitMirror(source, folder / "data", lambda _: Sensitive(TOKEN), None).fetch_head()
    return f"{refused.value.diagnostics}"


@pytest.mark.parametrize(("url", "credentials"), BUCKETS, ids=["bearer", "sas", "session"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("names", [(), ("http_proxy",)], ids=["all", "http alone"])
def test_a_bucket_of_this_machine_is_asked_itself(
    tmp_path: Path,
    proxy: Answering,
    url: str,
    credentials: dict[str, str],
    host: str,
    names: tuple[str, ...],
) -> None:
    """A proxy would get its credentials, and ask a machine of its own."""
    with answering(lambda _: (403, b"<Error><Code>AuthenticationFailed</Code></Error>")) as store:
        at = store.url.replace("127.0.0.1", host)
        site = make_site(
            tmp_path, f"{url}&endpoint={at}", **credentials, **proxies(proxy.url, *names)
        )
        site.run("state show", 1)
    assert store.asked
    assert proxy.asked == []


@pytest.mark.parametrize("is_source", [True, False], ids=["a source", "a state"])
def test_a_repository_of_this_machine_is_asked_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: Answering, *, is_source: bool
) -> None:
    """A proxy would get the token of a source, and ask a machine of its own."""
    with answering(lambda _: (403, b"no")) as server:
        url, way = f"{server.url}/a.git", proxies(proxy.url)
        if is_source:
            fetch(url, tmp_path, monkeypatch, way)
        else:
            make_site(tmp_path, f"git:{url}", **way).run("state show", 1)
    assert server.asked
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0.0.0.0"])
def test_a_backend_of_this_machine_is_asked_itself(
    tmp_path: Path, proxy: Answering, host: str
) -> None:
    """However its host is spelled."""
    with answering(lambda _: (403, {"detail": "no"})) as backend:
        url = backend.url.replace("127.0.0.1", host)
        site_of(tmp_path, url, **proxies(proxy.url)).run("get jobs", None)
    assert backend.asked
    assert proxy.asked == []


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "Ftp_Proxy"])
def test_a_manifest_cannot_read_how_servers_are_reached(tmp_path: Path, name: str) -> None:
    """Unless the base branch opens the variable by its name: there may be a password in it."""
    site = site_of(tmp_path, "https://api.example", **{name: f"http://{WRITTEN}@proxy.example"})
    file = tmp_path / "synapse-apply.yaml"
    project = json.loads(file.read_text())
    project["targets"]["prod"]["allow_env"] = [name]
    file.write_text(json.dumps(project))
    (tmp_path / "manifests" / "thief.yaml").write_text(STORAGE.format(name))
    said = site.run("validate -t prod", 1)
    assert f"valueFrom may not read {name}: *_PROXY gives access to targets.prod.url" in said
    assert PASSWORD not in said
    for typed in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "All")):
        git(tmp_path, *typed)
    site.run("validate -t prod --project-from git:main")


STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: thief}}
spec:
  name: Thief
  provider: amazon_s3
  category: external
  configuration: {{bucket_name: b, region_name: eu, access_key: a, secret_key: {{valueFrom: {{env: {}}}}}}}
"""
