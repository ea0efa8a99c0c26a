"""A package with a secret in a commit: a refused row of a look, and no release of an apply."""

import pytest
from contract.controller.worker.applying import open_site
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE

pytestmark = pytest.mark.usefixtures("forked_workers")

# Never whole in this file: tools that look for secrets find it else.
SECRET = "ghp_" + "Ab3dE6gH" * 4 + "Zz90"


def test_a_release_with_a_secret_is_refused(tmp_path):
    """Whatever may be done without asking, the plugin is made and its release is not."""
    with open_site(tmp_path) as site:
        site.push(
            {
                "manifests/yolo.yaml": f"{PLUGIN}---\n{RELEASE}",
                "plugins/yolo/config.yaml": CONFIG,
                "plugins/yolo/plugin/train.py": f"TOKEN = '{SECRET}'\n",
            }
        )
        for result in (site.look(), site.apply(), site.look()):
            (row,) = [row for row in result.rows if row.address == "release/yolo@1.0.0"]
            assert row.refusal == "package:secret", row
            assert SECRET not in f"{result}"
        addresses = [str(address) for address in site.read_state().records]
        assert "plugin/yolo" in addresses
        assert "release/yolo@1.0.0" not in addresses
        site.push({"plugins/yolo/plugin/train.py": "TOKEN = None\n"})
        assert site.apply().outcome.value == "applied"
        assert site.look().outcome.value == "in_sync"
