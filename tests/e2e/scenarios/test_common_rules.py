"""A rule that several targets share may name what only one of them has."""

from __future__ import annotations

import json
from typing import Any

from e2e.scenarios.workplace import TOKEN, Server, Workplace, project

NOT_THERE = "A policy rule names an unknown resource"
STAGING_ONLY = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: scratch}
spec: {name: Scratch, provider: file_system, category: internal, configuration: {base_path: /s}}
"""


def share(place: Workplace, server: Server, rule: dict[str, Any], **own: Any) -> None:
    """A second target with a storage of its own; the rule is common, or that of prod alone."""
    document = json.loads(project(server.url))
    settings = {"url": server.url, "tenant": "acme", "token": {"env": "PROD_TOKEN"}}
    document["targets"]["staging"] = {**settings, "manifests": ["manifests/", "staging/"]}
    if own:
        document["targets"]["prod"]["policy"] = {"rules": [rule]}
    else:
        document["policy"] = {"rules": [rule]}
    place.write("synapse-apply.yaml", json.dumps(document))
    place.write("staging/scratch.yaml", STAGING_ONLY)
    place.environ["PROD_TOKEN"] = TOKEN


def test_an_address_of_another_target_is_no_slip(applied: Workplace, server: Server) -> None:
    """The rule protects it there; a mistyped one is still told."""
    share(applied, server, {"rule": "protected", "addresses": ["storage/scratch"]})
    assert NOT_THERE not in applied.plan("-t", "prod", code=0).text
    share(applied, server, {"rule": "protected", "addresses": ["storage/scratsch"]})
    assert NOT_THERE in applied.plan("-t", "prod", code=0).text


def test_a_rule_of_one_target_speaks_of_that_target(applied: Workplace, server: Server) -> None:
    """There the other's address protects nothing."""
    share(applied, server, {"rule": "protected", "addresses": ["storage/scratch"]}, own=True)
    assert NOT_THERE in applied.plan("-t", "prod", code=0).text
