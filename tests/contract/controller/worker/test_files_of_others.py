"""A target reads nothing from files whose change its controller tells other targets alone."""

from __future__ import annotations

import pytest
from contract.controller.worker.applying import TOKEN, ApplySite
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE

from synapse_apply.controller.rows import RunOutcome
from synapse_apply.emulator.serve import EmbeddedServer

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


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("junk/key.yaml", "lies in junk, which only other targets list as manifests"),
        ("./junk/../junk/key.yaml", "lies in junk, which only other targets list as manifests"),
        ("tenants.yaml", "is a list of targets"),
    ],
)
def test_a_secret_in_a_file_of_others_is_not_read(tmp_path, secret, reason):
    """One in a folder of the target's own, or of nobody, is."""
    with EmbeddedServer(tmp_path / "backend", token=TOKEN) as server:
        site = ApplySite(tmp_path, server)
        try:
            plugin = SECRET_PLUGIN.replace("SECRET", f"{{valueFrom: {{file: {secret}}}}}")
            files = {
                "synapse-apply.yaml": site.project.rstrip() + "\n" + OTHERS,
                "tenants.yaml": "- {name: tenant-one}\n",
                "junk/key.yaml": "key-that-nobody-watches",
                "plugins/yolo/deploy/x.yaml": "{}",
                "keys/key.yaml": "key-that-is-watched",
                "common/img.yaml": plugin,
            }
            site.push(files)
            assert reason in site.look().plan_json
            applied = site.apply()
            assert applied.outcome is not RunOutcome.APPLIED
            assert reason in f"{applied.findings} {applied.report_json}"
            assert "plugin/img" not in map(str, site.read_state().records)

            site.push({"common/img.yaml": plugin.replace(secret, "keys/key.yaml")})
            assert site.apply().outcome is RunOutcome.APPLIED
        finally:
            site.close()


def test_a_package_with_a_file_of_others_is_refused(tmp_path):
    """Once an ignore rule leaves it out, the package is released."""
    with EmbeddedServer(tmp_path / "backend", token=TOKEN) as server:
        site = ApplySite(tmp_path, server)
        try:
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
                assert "plugins/yolo/deploy/x.yaml lies in" in str(result.findings)
            assert "release/yolo@1.0.0" not in map(str, site.read_state().records)
            site.push({"plugins/yolo/.synapseignore": "deploy/\n"})
            assert site.apply().outcome is RunOutcome.APPLIED
            assert site.look().outcome is RunOutcome.IN_SYNC
        finally:
            site.close()


@pytest.mark.parametrize("ref", ["origin/main", "refs/remotes/origin/main", "origin", "HEAD"])
def test_a_package_of_a_branch_is_refused(tmp_path, ref):
    """Its content would change without a commit of the target's own; a tag's does not."""
    with EmbeddedServer(tmp_path / "backend", token=TOKEN) as server:
        site = ApplySite(tmp_path, server)
        try:
            manifest = f"{PLUGIN}---\n{RELEASE}".replace(
                "source: ./plugins/yolo", "source: {path: plugins/yolo, ref: REF}"
            )
            files = {
                "manifests/yolo.yaml": manifest.replace("REF", ref),
                "plugins/yolo/config.yaml": CONFIG,
                "plugins/yolo/plugin/train.py": "pass\n",
            }
            commit = site.push(files)
            for result in (site.look(), site.apply()):
                assert "release/yolo@1.0.0" not in map(str, site.read_state().records)
                if ref not in ("origin", "HEAD"):  # which a mirror does not have
                    assert "A controller takes no package from a branch" in str(result.findings)
            site.upstream.tag("v1.0.0", commit)
            site.push({"manifests/yolo.yaml": manifest.replace("REF", "v1.0.0")})
            assert site.apply().outcome is RunOutcome.APPLIED
        finally:
            site.close()
