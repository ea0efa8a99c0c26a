"""The recipe of the image: every library by hash, and all that the documented cluster imports."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions

import yaml
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


def test_every_library_is_installed_by_hash_from_the_lock() -> None:
    """And the tool itself without any other; neither asks an index for what is not in the list."""
    libraries, tool = [line for line in RECIPE.splitlines() if "pip install" in line]
    for word in ("--no-deps", "--require-hashes", "--only-binary :all:", "action/requirements.txt"):
        assert word in libraries
    for word in ("--no-deps", "--no-index", "--no-build-isolation"):
        assert word in tool
    parts = ("action/requirements.txt", "synapse_apply", "schemas", "completions")
    for word in (f"COPY {part}" for part in parts):
        assert word in RECIPE


def test_the_lock_satisfies_every_extra() -> None:
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


def test_the_lock_has_every_library_that_is_imported() -> None:
    """Wherever in the package, also where only a fleet or a bucket needs it."""
    distributions, missing = packages_distributions(), set()
    for file in (ROOT / "synapse_apply").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                found = distributions.get(name, [name])
                if not {normalize_name(one) for one in found} & set(read_versions_of_lock()):
                    missing.add(name)
    assert missing == {"synapse_apply"}


def test_the_image_of_the_deployment_is_this_version() -> None:
    """The recipe says by which name the deployment wants it."""
    text = (ROOT / "examples/controller/kubernetes/base/deployment.yaml").read_text("utf-8")
    [deployment] = yaml.safe_load_all(text)
    controller, _ = deployment["spec"]["template"]["spec"]["containers"]
    assert controller["image"].rpartition(":")[2] == PROJECT["version"]
    assert f"--tag {controller['image']} ." in RECIPE
