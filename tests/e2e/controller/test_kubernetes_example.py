"""The manifests of examples/controller/kubernetes fit the cluster's schemas, and one another."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml
from installed import ROOT
from prometheus_client.parser import text_string_to_metric_families
from unit.controller.page import page_samples as samples

from synapse_apply.controller.configuration.access_secrets import AccessSecrets
from synapse_apply.controller.configuration.reading import parse_and_check_configuration
from synapse_apply.controller.page.server import PageServer
from synapse_apply.model.values import Sensitive

FOLDER = ROOT / "examples" / "controller" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
# The oldest that is still maintained, and the newest that the schemas are there for.
VERSIONS = ["1.33", "1.37"]


@cache
def read(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def find(kind: str) -> dict[str, Any]:
    [document] = [one for file in FILES for one in read(file) if one["kind"] == kind]
    return document


def pod() -> dict[str, Any]:
    return find("Deployment")["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_manifest_fits_its_published_schema(file: Path, version: str) -> None:
    """Every field is known, and of the type that the API has."""
    for document in read(file):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_does_not_exist_is_found() -> None:
    """The check above is one."""
    broken = {**find("Service"), "spec": {"port": 80}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_one_controller_at_a_time_has_the_volume() -> None:
    """One replica, and the old one ends before the new one begins."""
    spec = find("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert find("PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_every_container_is_without_rights() -> None:
    """No root, a root file system that is only read, no token of the cluster."""
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["securityContext"]["runAsNonRoot"] is True
    for container in pod()["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_refers_to_something_finds_it() -> None:
    """Volumes, claims, ports and labels have the names that others use."""
    names = {volume["name"] for volume in pod()["volumes"]}
    mounts = {mount["name"] for one in pod()["containers"] for mount in one.get("volumeMounts", [])}
    assert mounts == names
    by_name = {volume["name"]: volume for volume in pod()["volumes"]}
    claim, configuration = find("PersistentVolumeClaim"), find("ConfigMap")
    assert by_name["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert by_name["configuration"]["configMap"]["name"] == configuration["metadata"]["name"]
    labels = find("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert find("Service")["spec"]["selector"] == labels
    assert find("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    ports = {
        port["name"]: port["containerPort"]
        for one in pod()["containers"]
        for port in one.get("ports", [])
    }
    assert [port["targetPort"] for port in find("Service")["spec"]["ports"]] == ["http"]
    people, prometheus = find("NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for port in people["ports"]] == [ports["http"]]
    assert [port["port"] for port in prometheus["ports"]] == [ports["metrics"]]


def test_the_probes_ask_the_controller_itself() -> None:
    """Through the proxy, which lets them pass; a dead controller is restarted, not only its proxy."""
    controller, proxy = pod()["containers"]
    paths = {kind: controller[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")}
    assert paths == {
        "liveness": {"path": "/healthz", "port": 4180},
        "readiness": {"path": "/readyz", "port": 4180},
    }
    assert read_proxy_configuration()["server"]["BindAddress"] == "0.0.0.0:4180"
    assert "--alpha-config=/etc/synapse-apply/proxy.yaml" in proxy["args"]
    assert "--skip-auth-route=GET=^/(healthz|readyz)$" in proxy["args"]


def test_the_proxy_says_who_it_is_by_the_headers_that_the_controller_reads() -> None:
    """Each is replaced, whatever a browser sends; the upstream is where the controller listens."""
    proxy = read_proxy_configuration()
    controller = yaml.safe_load(find("ConfigMap")["data"]["controller.yaml"])
    access = controller["access"]["proxy"]
    headers = {header["name"]: header for header in proxy["injectRequestHeaders"]}
    assert set(headers) == {access[f"{name}_header"] for name in ("user", "groups", "secret")}
    assert not any(header.get("preserveRequestValue") for header in headers.values())
    [upstream] = proxy["upstreamConfig"]["upstreams"]
    assert upstream["uri"] == f"http://127.0.0.1:{controller['listen'].partition(':')[2]}"
    secret = headers[access["secret_header"]]["values"][0]["fromFile"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod()["containers"][1]["volumeMounts"]}
    assert mounts[secret.rpartition("/")[0]] == "login"


def test_prometheus_can_scrape_the_metrics_and_nothing_else(tmp_path: Path) -> None:
    """As it asks: at the pod's address, at the port of its annotations, without the proxy.

    It is the one whose rules are beside it: what the alerts are made of is there. A page is not.
    """
    text = find("ConfigMap")["data"]["controller.yaml"]
    settings = parse_and_check_configuration(text, Path("controller.yaml")).controller
    assert settings is not None
    annotations = find("Deployment")["spec"]["template"]["metadata"]["annotations"]
    port, path = annotations["prometheus.io/port"], annotations["prometheus.io/path"]
    assert annotations["prometheus.io/scrape"] == "true"
    containers = {one["name"]: one for one in pod()["containers"]}
    assert containers["controller"]["ports"] == [{"name": "metrics", "containerPort": int(port)}]
    assert (settings.listen_host, settings.listen_port) == ("0.0.0.0", int(port))
    [source] = find("NetworkPolicy")["spec"]["ingress"][1]["from"]
    assert {"namespaceSelector", "podSelector"} == set(source)
    store = samples.open_store(tmp_path)
    samples.fill_few(store)
    loop = samples.StubLoop(replace(settings, listen_port=0))
    secrets = AccessSecrets(Sensitive("x" * 20), {"operator": Sensitive("y" * 20)})
    with PageServer(store, loop, {}, lambda: samples.NOW, lambda: secrets) as server:

        def ask(asked: str, **headers: str) -> requests.Response:
            url = f"http://127.0.0.1:{server.url.rpartition(':')[2]}{asked}"
            return requests.get(url, headers={"Host": f"10.1.2.3:{port}", **headers}, timeout=10)

        scraped = ask(path)
        assert scraped.status_code == 200, scraped.text
        families = {family.name for family in text_string_to_metric_families(scraped.text)}
        rules = (FOLDER.parent / "prometheus-rules.yaml").read_text(encoding="utf-8")
        assert set(re.findall(r"synapse_apply_\w+", rules)) <= families
        public = {"Host": "synapse-apply.acme.example"}
        for asked in ("/", "/api/v1/targets", "/targets/acme/prod"):
            assert ask(asked).status_code == 421
            assert ask(asked, **public).status_code in {401, 403}
        people = {**public, "X-User": "ann@acme.example", "X-Groups": "sre"}
        assert ask("/", **people).status_code == 403
        assert ask("/", **people, **{"X-Proxy-Secret": "x" * 20}).status_code == 200
    store.close()


def read_proxy_configuration() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(find("ConfigMap")["data"]["proxy.yaml"])
    return document


def test_the_image_has_the_user_of_the_pod_and_what_the_controller_starts() -> None:
    """Git and ssh."""
    recipe = (FOLDER.parent / "Containerfile").read_text(encoding="utf-8")
    user = pod()["securityContext"]["runAsUser"]
    assert f"USER {user}:{pod()['securityContext']['runAsGroup']}" in recipe
    for word in ("git", "openssh-client"):
        assert word in recipe
    assert Path(ROOT / "examples/controller/README.md").is_file()
