"""The recipe of the image: every library by hash, and all that the documented cluster imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from house.parsing import list_nodes
from installed import ROOT
from lowest import normalize_name
from packaging.requirements import Requirement

RECIPE = (ROOT / "examples" / "controller" / "Containerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_versions_of_lock() -> dict[str, str]:
    """The version of each library that the recipe installs, by name."""
    pins = [
        line.split()[0]
        for line in (ROOT / "action" / "requirements.txt").read_text("utf-8").splitlines()
        if "==" in line
    ]
    return {normalize_name(pin): pin.partition("==")[2] for pin in pins}


def test_every_library_is_installed_by_hash_from_the_lock():
    """And the tool from the wheel of dist/; neither asks an index for what is not in the list."""
    libraries, tool = [line for line in RECIPE.splitlines() if "pip install" in line]
    for word in ("--no-deps", "--require-hashes", "--only-binary :all:", "requirements.txt"):
        assert word in libraries
    for word in ("--no-deps", "--no-index", "./synapse_apply-*.whl"):
        assert word in tool
    copied = re.findall(r"^COPY (?!--from)(\S+) \./$", RECIPE, re.MULTILINE)
    assert copied == ["action/requirements.txt", "dist/synapse_apply-*.whl"]
    given = (ROOT / ".dockerignore").read_text("utf-8").split("*\n", 1)[1]
    assert given == "".join(f"!{path}\n" for path in copied)


def test_the_image_is_two_stages_of_one_base_without_rights():
    """The base by digest; the second stage has no more of the first than the environment."""
    assert re.search(r"^ARG BASE=\S+:3\.13-\S+@sha256:[0-9a-f]{64}$", RECIPE, re.MULTILINE)
    assert re.findall(r"^FROM (.+)$", RECIPE, re.MULTILINE) == ["${BASE} AS build", "${BASE}"]
    run = RECIPE.rpartition("FROM ")[2]
    assert re.findall(r"^(?:COPY|ADD) (.+)$", run, re.MULTILINE) == [
        "--from=build /opt/synapse-apply /opt/synapse-apply"
    ]
    assert "pip" not in run
    assert re.findall(r"^USER (.+)$", RECIPE, re.MULTILINE) == ["10001:10001"]
    assert "\nHEALTHCHECK " in run


def test_a_release_makes_the_image_of_the_tested_wheel():
    """On both forges: with the files of the build whose checksums hold, and the SBOM signed beside the image."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
    steps = workflow["jobs"]["image"]["steps"]
    downloads = [one["with"] for one in steps if "download-artifact@" in one.get("uses", "")]
    assert downloads == [{"name": "dist", "path": "dist"}]
    pipeline = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text("utf-8"))
    scripts = [
        "".join(one.get("run", "") for one in steps),
        "\n".join(pipeline["container"]["script"] + pipeline["sign"]["script"]),
    ]
    for text in scripts:
        parts = ["sha256sum -", " build ", " push ", "cosign sign ", "cosign attest "]
        assert [text.index(part) for part in parts] == sorted(map(text.index, parts))
        assert "--type cyclonedx --predicate dist/*.cdx.json" in text


def test_the_lock_satisfies_every_extra():
    """What `pip install 'synapse-apply[controller,fleet,postgres,bucket]'` would ask for."""
    versions = read_versions_of_lock()
    extras = PROJECT["optional-dependencies"]
    assert set(extras) >= {"controller", "fleet", "postgres", "bucket"}
    asked = [*PROJECT["dependencies"], *(text for texts in extras.values() for text in texts)]
    for requirement in map(Requirement, asked):
        version = versions.get(normalize_name(requirement.name), "none")
        assert requirement.specifier.contains(version), requirement
    # Of psycopg[binary], and of the pool that the queue connects through.
    assert {"psycopg-binary", "psycopg-pool"} <= set(versions)


@pytest.mark.one_process("syntax trees")
def test_the_lock_has_every_library_that_is_imported():
    """Wherever in the package, also where only a fleet or a bucket needs it."""
    distributions, missing = packages_distributions(), set()
    locked = set(read_versions_of_lock())
    for file in (ROOT / "synapse_apply").rglob("*.py"):
        for node in list_nodes(file):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                found = distributions.get(name, [name])
                if not {normalize_name(one) for one in found} & locked:
                    missing.add(name)
    assert missing == {"synapse_apply"}


def test_the_image_of_the_deployment_is_this_version():
    """The recipe says by which name the deployment wants it."""
    text = (ROOT / "examples/controller/kubernetes/base/deployment.yaml").read_text("utf-8")
    [deployment] = yaml.safe_load_all(text)
    controller, _ = deployment["spec"]["template"]["spec"]["containers"]
    assert controller["image"].rpartition(":")[2] == PROJECT["version"]
    assert f"--tag {controller['image']} ." in RECIPE
