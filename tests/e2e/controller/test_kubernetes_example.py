"""The manifests of examples/controller/kubernetes fit the cluster's schemas, and one another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml
from installed import BIN, ROOT
from prometheus_client.parser import text_string_to_metric_families
from unit.controller.page import page_samples as samples

from synapse_apply.controller.configuration.reading import parse_and_check_configuration
from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.page.server import PageServer
from synapse_apply.model.values import Sensitive

FOLDER = ROOT / "examples" / "controller" / "kubernetes"
FILES = sorted(FOLDER.rglob("*.yaml"))
# The oldest that is still maintained, and the newest that the schemas are there for.
VERSIONS = ["1.33", "1.37"]
Document = dict[str, Any]


@cache
def read(file: Path) -> list[Document]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


@cache
def build(name: str) -> dict[tuple[str, str], Document]:
    """What `kubectl apply -k` takes from a folder, by kind and name; the hash of a ConfigMap's name left out."""
    kubectl = shutil.which("kubectl", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    assert kubectl, (
        "this test needs kubectl in PATH: no package of the group `dev` has it for this system"
    )
    done = subprocess.run(
        [kubectl, "kustomize", str(FOLDER / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    built = {}
    for document in yaml.safe_load_all(done.stdout):
        kind, name = document["kind"], document["metadata"]["name"]
        built[kind, name.rpartition("-")[0] if kind == "ConfigMap" else name] = document
    return built


def find(kind: str, name: str = "synapse-apply-controller", of: str = "base") -> Document:
    return build(of)[kind, name]


def pod(of: str = "base", name: str = "synapse-apply-controller") -> Document:
    found: Document = find("Deployment", name, of)["spec"]["template"]["spec"]
    return found


def settings_of(folder: str) -> Document:
    found: Document = yaml.safe_load(find("ConfigMap", of=folder)["data"]["controller.yaml"])
    return found


@pytest.mark.published
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", ["base", "fleet"])
def test_each_manifest_fits_its_published_schema(folder, version):
    """Every field is known, and of the type that the API has."""
    for document in build(folder).values():
        if not document["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(document, version, strict=True)


def test_every_file_is_part_of_a_kustomization():
    """Each is named once, and exists; every resource is in the namespace."""
    listed = []
    for file in FOLDER.glob("*/kustomization.yaml"):
        [settings] = read(file)
        generated = [
            one for made in settings.get("configMapGenerator", ()) for one in made["files"]
        ]
        names = [*settings["resources"], *settings.get("components", ()), *generated]
        listed += [file, *(file.parent / name for name in names if not name.startswith("../"))]
    assert sorted(listed) == FILES
    assert {one["metadata"]["namespace"] for one in build("fleet").values()} == {"synapse-apply"}


@pytest.mark.published
def test_the_operator_reads_what_its_definitions_have():
    """The fields of a ServiceMonitor and a PrometheusRule, as version 0.93 of the operator has them."""
    monitor, rule = find("ServiceMonitor", of="fleet"), find("PrometheusRule", of="fleet")
    assert {monitor["apiVersion"], rule["apiVersion"]} == {"monitoring.coreos.com/v1"}
    assert set(monitor["spec"]) == {"selector", "namespaceSelector", "endpoints"}
    [endpoint] = monitor["spec"]["endpoints"]
    assert set(endpoint) == {"port", "path", "scheme", "interval", "scrapeTimeout"}
    plain = yaml.safe_load((FOLDER.parent / "prometheus-rules.yaml").read_text("utf-8"))
    assert rule["spec"] == plain
    for alert in plain["groups"][0]["rules"]:
        assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}


@pytest.mark.published
def test_a_field_that_does_not_exist_is_found():
    """The check above is one."""
    broken = {**find("Service"), "spec": {"port": 80}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_the_operator_finds_the_port_of_the_metrics():
    """From the monitor by its labels to one service, by the port's name to the controller's own."""
    monitor = find("ServiceMonitor", of="fleet")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    services = [one for (kind, _), one in build("fleet").items() if kind == "Service"]
    [service] = [one for one in services if wanted <= one["metadata"]["labels"].items()]
    assert monitor["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
    [endpoint], [port] = monitor["endpoints"], service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    labels = find("Deployment", of="fleet")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert {"name": port["targetPort"], "containerPort": 8080} in pod("fleet")["containers"][0][
        "ports"
    ]
    annotations = find("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert endpoint["path"] == annotations["prometheus.io/path"]


def test_the_ingress_leads_to_the_proxy_by_the_name_that_people_use():
    """One host, with TLS: that of public_url and of where the login comes back to."""
    spec = find("Ingress")["spec"]
    [rule], [tls] = spec["rules"], spec["tls"]
    assert tls["hosts"] == [rule["host"]]
    assert settings_of("base")["public_url"] == f"https://{rule['host']}"
    redirect = f"--redirect-url=https://{rule['host']}/oauth2/callback"
    assert redirect in pod()["containers"][1]["args"]
    [path] = rule["http"]["paths"]
    service = find("Service", path["backend"]["service"]["name"])
    [port] = service["spec"]["ports"]
    assert (path["path"], path["pathType"]) == ("/", "Prefix")
    assert path["backend"]["service"]["port"]["name"] == port["name"] == "http"


def test_a_fleet_shares_a_store_and_nothing_else():
    """Several replicas and workers; the same configuration and one store; no disk of two pods."""
    shared = settings_of("fleet")
    assert shared.pop("store") == {"url": {"file": "/run/secrets/synapse-apply/store-url"}}
    assert shared == settings_of("base")
    for of in ("base", "fleet"):
        text = find("ConfigMap", of=of)["data"]["controller.yaml"]
        assert parse_and_check_configuration(text, Path("controller.yaml")).controller is not None
    controller, worker = (f"synapse-apply-{name}" for name in ("controller", "worker"))
    for name in (controller, worker):
        deployment = find("Deployment", name, "fleet")
        assert deployment["spec"]["replicas"] == 2
        volumes = {one["name"]: one for one in pod("fleet", name)["volumes"]}
        assert set(volumes["data"]) == {"name", "emptyDir"}
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        budget = find("PodDisruptionBudget", name, "fleet")["spec"]
        assert budget["selector"] == deployment["spec"]["selector"]
        assert budget["maxUnavailable"] < deployment["spec"]["replicas"]
        policy = find("NetworkPolicy", "synapse-apply", "fleet")["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert find("Deployment", of="fleet")["spec"]["strategy"]["type"] == "RollingUpdate"
    assert "PersistentVolumeClaim" not in {kind for kind, _ in build("fleet")}
    [one], [ours, _] = pod("fleet", worker)["containers"], pod("fleet")["containers"]
    assert one["args"] == ["controller", "run", "--worker", *ours["args"][2:]]
    for part in ("image", "env", "volumeMounts", "resources", "securityContext"):
        assert one[part] == ours[part]
    others = [volume for volume in pod("fleet")["volumes"] if volume["name"] != "login"]
    assert pod("fleet", worker)["volumes"] == others
    # People may use any replica, for each request another one.
    assert "sessionAffinity" not in find("Service", of="fleet")["spec"]
    assert "affinity" not in str(find("Ingress", of="fleet")["metadata"])


def test_nobody_comes_to_a_pod_that_no_rule_names():
    """All pods are closed to the inside of the cluster; the controller is opened by its own policy."""
    everywhere = find("NetworkPolicy", "synapse-apply")["spec"]
    assert everywhere["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everywhere
    labels = find("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert everywhere["podSelector"]["matchLabels"].items() <= labels.items()


def test_one_controller_at_a_time_has_the_volume():
    """One replica, and the old one ends before the new one begins."""
    spec = find("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert find("PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_every_container_is_without_rights():
    """No root, a root file system that is only read, no token of the cluster."""
    for name in ("synapse-apply-controller", "synapse-apply-worker"):
        spec = pod("fleet", name)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_what_refers_to_something_finds_it():
    """Volumes, claims, ports and labels have the names that others use."""
    names = {volume["name"] for volume in pod()["volumes"]}
    mounts = {mount["name"] for one in pod()["containers"] for mount in one.get("volumeMounts", [])}
    assert mounts == names
    by_name = {volume["name"]: volume for volume in pod()["volumes"]}
    claim, configuration = find("PersistentVolumeClaim"), find("ConfigMap")
    assert by_name["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert by_name["configuration"]["configMap"]["name"] == configuration["metadata"]["name"]
    labels = find("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert find("Service")["spec"]["selector"].items() <= labels.items()
    policy = find("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= labels.items()
    ports = {
        port["name"]: port["containerPort"]
        for one in pod()["containers"]
        for port in one.get("ports", [])
    }
    assert [port["targetPort"] for port in find("Service")["spec"]["ports"]] == ["http"]
    people, prometheus = find("NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for port in people["ports"]] == [ports["http"]]
    assert [port["port"] for port in prometheus["ports"]] == [ports["metrics"]]


def test_the_probes_ask_the_controller_itself():
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


def test_the_proxy_says_who_it_is_by_the_headers_that_the_controller_reads():
    """Each is replaced, whatever a browser sends; the upstream is where the controller listens."""
    proxy = read_proxy_configuration()
    controller = settings_of("base")
    access = controller["access"]["proxy"]
    headers = {header["name"]: header for header in proxy["injectRequestHeaders"]}
    assert set(headers) == {access[f"{name}_header"] for name in ("user", "groups", "secret")}
    assert not any(header.get("preserveRequestValue") for header in headers.values())
    [upstream] = proxy["upstreamConfig"]["upstreams"]
    assert upstream["uri"] == f"http://127.0.0.1:{controller['listen'].partition(':')[2]}"
    secret = headers[access["secret_header"]]["values"][0]["fromFile"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod()["containers"][1]["volumeMounts"]}
    assert mounts[secret.rpartition("/")[0]] == "login"


def test_prometheus_can_scrape_the_metrics_and_nothing_else(tmp_path):
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
            return requests.get(url, headers={"Host": f"10.1.2.3:{port}", **headers}, timeout=60)

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


def test_the_image_has_the_user_of_the_pod_and_what_the_controller_starts():
    """Git, ssh, and gpg for signed commits."""
    recipe = (FOLDER.parent / "Containerfile").read_text(encoding="utf-8")
    user = pod()["securityContext"]["runAsUser"]
    assert f"USER {user}:{pod()['securityContext']['runAsGroup']}" in recipe
    for word in ("git", "gnupg", "openssh-client"):
        assert word in recipe
    assert Path(ROOT / "examples/controller/README.md").is_file()
