"""The variables that the secrets of an export come from."""

from __future__ import annotations

import time
from pathlib import Path

from synapse_apply.manifests.export import Exporter
from synapse_apply.manifests.project.project import build_default_project
from synapse_apply.manifests.schemas import read_marks_of_storage_secrets
from synapse_apply.model.address import Address


def test_thousands_of_keys_that_all_give_one_variable_take_no_time(tmp_path: Path) -> None:
    begin = time.process_time()
    empty = build_default_project(tmp_path)
    exporter = Exporter(empty, empty.targets["embedded"], read_marks_of_storage_secrets())
    token = "ghp_" + "a1B2c3D4e5" * 4
    configuration = {"token" + "-" * number: token for number in range(900)}
    spec = {"name": "P", "configuration": configuration}
    made = exporter.build_manifest(Address("plugin", "p"), spec, {})
    assert len({one.variable for one in made.secrets}) == 900
    assert time.process_time() - begin < 60
