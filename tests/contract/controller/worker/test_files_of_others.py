"""A target reads nothing from files whose change its controller tells other targets alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.controller.worker.applying import ApplySite, open_site
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE

pytestmark = pytest.mark.usefixtures("forked_workers")

OTHERS = """\
    manifests: [manifests/, common/]
  junk: {url: "http://127.0.0.1:9", manifests: [junk/, plugins/yolo/deploy]}
targets_from:
- {file: tenants.yaml, name: "${row.name}", template: {url: "http://127.0.0.1:9"}}
"""
SECRET_PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: img}
lifecycle: {sensitive: [/configuration/token]}
spec:
  {name: Img, code: img, version: "1.0.0", category: export, configuration: {token: SECRET}}
"""


IN_JUNK = "is in junk, which only other targets list under `manifests:`"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ApplySite]:
    with open_site(tmp_path) as made:
        yield made


def list_records(site: ApplySite) -> list[str]:
    return [str(address) for address in site.read_state().records]


def test_a_secret_in_a_file_of_others_is_not_read(site):
    """One in a folder of the target's own, or of nobody, is."""
    files = {
        "synapse-apply.yaml": site.project.rstrip() + "\n" + OTHERS,
        "tenants.yaml": "- {name: tenant-one}\n",
        "junk/key.yaml": "key-that-nobody-watches",
        "plugins/yolo/deploy/x.yaml": "{}",
        "keys/key.yaml": "key-that-is-watched",
    }
    for secret, reason in (
        ("junk/key.yaml", IN_JUNK),
        ("./junk/../junk/key.yaml", IN_JUNK),
        ("tenants.yaml", "is a list of targets"),
    ):
        plugin = SECRET_PLUGIN.replace("SECRET", f"{{valueFrom: {{file: {secret}}}}}")
        site.push({**files, "common/img.yaml": plugin})
        assert reason in site.look().plan_json, secret
        applied = site.apply()
        assert applied.outcome.value != "applied"
        assert reason in f"{applied.findings} {applied.report_json}"
        assert "plugin/img" not in list_records(site)
    site.push({"common/img.yaml": plugin.replace(secret, "keys/key.yaml")})
    assert site.apply().outcome.value == "applied"


def test_a_package_with_a_file_of_others_is_refused(site):
    """Once an ignore rule leaves it out, the package is released."""
    site.push(
        {
            "synapse-apply.yaml": site.project.rstrip() + "\n" + OTHERS,
            "tenants.yaml": "- {name: tenant-one}\n",
            "common/yolo.yaml": f"{PLUGIN}---\n{RELEASE}",
            "plugins/yolo/config.yaml": CONFIG,
            "plugins/yolo/plugin/train.py": "pass\n",
            "plugins/yolo/deploy/x.yaml": "{}",
        }
    )
    for result in (site.look(), site.apply()):
        assert "A package has a file of other targets" in str(result.findings)
        assert "plugins/yolo/deploy/x.yaml is in" in str(result.findings)
    assert "release/yolo@1.0.0" not in list_records(site)
    site.push({"plugins/yolo/.synapseignore": "deploy/\n"})
    assert site.apply().outcome.value == "applied"
    assert site.look().outcome.value == "in_sync"


def test_a_package_of_a_branch_is_refused(site):
    """Its content would change without a commit of the target's own; a tag's does not."""
    manifest = f"{PLUGIN}---\n{RELEASE}".replace(
        "source: ./plugins/yolo", "source: {path: plugins/yolo, ref: REF}"
    )
    files = {"plugins/yolo/config.yaml": CONFIG, "plugins/yolo/plugin/train.py": "pass\n"}
    for ref in ("origin/main", "refs/remotes/origin/main", "origin", "HEAD"):
        commit = site.push({**files, "manifests/yolo.yaml": manifest.replace("REF", ref)})
        for result in (site.look(), site.apply()):
            assert "release/yolo@1.0.0" not in list_records(site), ref
            if ref not in ("origin", "HEAD"):  # which a mirror does not have
                assert "A controller does not read packages from a branch" in str(result.findings)
    site.upstream.tag("v1.0.0", commit)
    site.push({"manifests/yolo.yaml": manifest.replace("REF", "v1.0.0")})
    assert site.apply().outcome.value == "applied"
