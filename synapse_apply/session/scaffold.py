"""Use case: write a project file and first manifests, so that nobody begins with an empty page."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synapse_apply.manifests.export_files import SCHEMA_FILE
from synapse_apply.manifests.naming import is_name, slug
from synapse_apply.manifests.project import FILE_NAME, find_project
from synapse_apply.manifests.reader import read_mapping
from synapse_apply.manifests.rewriting import taken, write_new
from synapse_apply.manifests.scalar_texts import on_one_line
from synapse_apply.manifests.shapes import bundled, needed_keys, provider_names, schema_text
from synapse_apply.manifests.wording import FILL_IN, did_you_mean
from synapse_apply.manifests.writing import schema_line
from synapse_apply.model.desired import PackageSource
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.inspect import config_of

MANIFESTS = "manifests"
FIRST_VERSION = "0.1.0"

PROJECT = f"""\
apiVersion: synapse-apply/v1
kind: Project
manifests: [{MANIFESTS}/]

# The backend that is meant when no --target is given. The embedded one is always there.
default_target: embedded

# Your own backends. Tokens come from the environment, never from this file.
# targets:
#   prod:
#     url: https://api.example.com
#     tenant: acme
#     token: {{env: SYNAPSE_PROD_TOKEN}}
#     variables: {{bucket: acme-prod}}

# What differs from target to target; a manifest says ${{var.bucket}}.
# variables:
#   bucket: {{default: acme-dev}}
"""
EXAMPLE = """\
# A first storage, to see plan and apply work. `synapse-apply new` writes more.
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: example}
spec:
  name: Example
  provider: file_system
  category: internal
  configuration:
    base_path: /data/example
"""


@frozen
class Scaffold:
    """Files by path, without the line that names their schema; `root` is the project's folder."""

    root: Path
    files: Mapping[Path, str]

    def write(self) -> None:
        """Write all of them, or none where one is there already (InputError).

        Schemas are written where there are none yet, so that editors have them.
        """
        there = [path for path in self.files if path.exists()]
        if there:
            raise InputError(*map(taken, there))
        for path, text in self.files.items():
            name = "project" if path.name == FILE_NAME else "manifest"
            schema = schema_file(self.root, path, name)
            write_new(path, with_schema_line(text, path, schema))
            if not schema.exists() and not schema.parent.is_symlink():
                write_new(schema, schema_text(name))


def schema_file(root: Path, file: Path, name: str) -> Path:
    """Where the schema of a file is, or shall be: beside it, or above it in the project.

    Where there is none above, it goes into the folder of manifests, as `export` has it.
    """
    wanted = Path(SCHEMA_FILE.parent, f"{name}.schema.json")
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100 - links stay as they are written
    top = Path(os.path.abspath(root))  # noqa: PTH100
    for above in (folder, *folder.parents):
        if (above / wanted).is_file():
            return above / wanted
        if above == top:
            break
    manifests = top / MANIFESTS
    beside = name == "manifest" and not folder.is_relative_to(manifests)
    return (folder if beside else manifests) / wanted


def with_schema_line(text: str, file: Path, schema: Path) -> str:
    """The text below a line that tells editors where its schema is, as seen from the file."""
    seen = os.path.relpath(schema, os.path.abspath(file.parent))  # noqa: PTH100
    return schema_line(Path(seen).as_posix()) + text


def new_manifest(folder: Path, text: str, out: Path | None) -> str:
    """Write a manifest to a file that is not there yet; gives its text, with its schema's line.

    Without a file nothing is written: the text is one for the folder of manifests.
    """
    found = find_project(folder)
    root = found.parent if found else folder
    file = out if out is not None else root / MANIFESTS / "new.yaml"
    if out is not None:
        Scaffold(root, {file: text}).write()
    return with_schema_line(text, file, schema_file(root, file, "manifest"))


def project(folder: Path) -> Scaffold:
    """A project file and a first manifest; InputError inside another project."""
    there = find_project(folder)
    if there is not None:
        raise InputError(
            error(
                "There is a project already",
                f"{there} is the project file here.",
                "Add manifests with `synapse-apply new`, or `synapse-apply init --from FOLDER`.",
            )
        )
    files = {folder / FILE_NAME: PROJECT}
    manifests = folder / MANIFESTS
    if not (manifests.is_dir() and any(manifests.iterdir())):
        files[manifests / "example.yaml"] = EXAMPLE
    return Scaffold(folder, files)


def from_plugin(folder: Path, plugin: Path) -> Scaffold:
    """Manifests of a plugin folder and its first release, and a project file where none is.

    InputError when the folder is not there, lies outside the project, or cannot be read.
    """
    there = find_project(folder)
    root = there.parent if there else folder
    source = _inside(root, plugin)
    found = config_of(PackageSource("folder", source), root, read_mapping)
    config = found[0] if found else {}
    given = config.get("code") or plugin.resolve().name
    name = slug(str(given))
    files = {root / MANIFESTS / f"{name}.yaml": _plugin_and_release(name, source, config)}
    if there is None:
        files = {root / FILE_NAME: PROJECT, **files}
    return Scaffold(root, files)


def manifest(kind: str, name: str, provider: str = "amazon_s3") -> str:
    """A manifest to fill in; `kind` is plugin, release (NAME or NAME@VERSION) or storage.

    InputError for a name that cannot be one, or a provider nobody knows.
    """
    name, at, version = name.partition("@")
    if not is_name(name) or (at and kind != "release"):
        raise InputError(
            error(
                "This cannot be a name",
                f"{name + at + version!r} is not lower-case letters, digits, `.`, `_` and `-`.",
                f"For example `synapse-apply new {kind} {slug(name)}`.",
            )
        )
    if kind == "plugin":
        return _plugin(name)
    if kind == "release":
        return _release(name, version or "1.0.0")
    return _storage(name, provider)


def _inside(root: Path, plugin: Path) -> str:
    """The folder as manifests write it: relative to the project's root, with slashes."""
    if not plugin.is_dir():
        raise InputError(
            error("There is no such folder", f"{plugin} is not a folder.", "Name a plugin folder.")
        )
    relative = os.path.relpath(plugin.resolve(), root.resolve())
    if relative.startswith(".."):
        raise InputError(
            error(
                "The folder lies outside the project",
                f"{plugin} is not inside {root}.",
                "Run the command in a folder that holds both, or move the plugin.",
            )
        )
    return Path(relative).as_posix()


def _plugin_and_release(name: str, source: str, config: Mapping[str, Any]) -> str:
    """What config.yaml says is taken from there; only what it lacks is written here."""
    path = _inline("./" + source if source != "." else ".")
    lines = [
        "apiVersion: synapse-apply/v1",
        "kind: Plugin",
        f"metadata: {{name: {_inline(name)}}}",
        "spec:",
        f"  from: {path}  # name, code, description and category come from its config.yaml",
    ]
    if not config.get("name"):
        lines.append(f"  name: {_inline(name)}")
    lines += [
        "---",
        "apiVersion: synapse-apply/v1",
        "kind: Release",
        "spec:",
        f"  plugin: {_inline(name)}",
    ]
    if not config.get("version"):
        lines.append(f'  version: "{FIRST_VERSION}"')
    lines.append(f"  source: {path}  # zipped and published; a new version is a new release")
    return "\n".join(lines) + "\n"


def _plugin(name: str) -> str:
    return f"""\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: {_inline(name)}}}
spec:
  name: {_inline(name)}
  code: {_inline(name)}
  description: {FILL_IN}
  # version: "1.0.0"
  # author: Your team
  # category: image_processing
  # configuration:
  #   parameters: {{quality: {{type: float, default: 0.8}}}}
"""


def _release(name: str, version: str) -> str:
    return f"""\
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: {_inline(name)}  # a Plugin manifest's metadata.name
  version: {json.dumps(version)}
  # changelog: Initial release
  # is_stable: true
  source: ./plugins/{name}  # a folder; or file: dist/{name}.zip
"""


def _storage(name: str, provider: str) -> str:
    if provider not in provider_names():
        known = ", ".join(provider_names())
        near = did_you_mean(provider, provider_names())
        raise InputError(error("Unknown provider", f"{provider!r}.", near or f"Known: {known}."))
    lines = [
        "apiVersion: synapse-apply/v1",
        "kind: Storage",
        f"metadata: {{name: {_inline(name)}}}",
        "spec:",
        f"  name: {_inline(name)}",
        f"  provider: {provider}",
        "  category: external",
        *_configuration(name, bundled(f"providers/{provider}")),
    ]
    return "\n".join(lines) + "\n"


def _configuration(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """A line a key, from the provider's schema: what is needed as it is, the rest commented."""
    variable = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if schema.get("x-secret"):
        yield "  configuration: {}  # its keys are not documented; every value is secret:"
        yield f"  #   password: {{valueFrom: {{env: {variable}_PASSWORD}}}}"
        return
    yield "  configuration:"
    keys = schema["properties"]
    other = set(schema.get("x-vocabularies", {}).get("platform", ()))
    needed = needed_keys(schema)
    secrets = [key for key in keys if keys[key].get("x-secret") and key not in other]
    needed |= set() if needed & set(secrets) else set(secrets)
    ordered = [k for k in keys if k in needed] + [k for k in keys if k not in needed]
    for key in (key for key in ordered if key not in other):
        value = FILL_IN
        if key in secrets:
            as_json = ", format: json" if "secretMap" in keys[key].get("$ref", "") else ""
            value = f"{{valueFrom: {{env: {variable}_{key.upper()}{as_json}}}}}"
        start = "    " if key in needed else "    # "
        yield f"{start}{key}: {value}  # {_said(keys[key])}"


def _said(key: Mapping[str, Any]) -> str:
    """A key's description, without which vocabulary it is of: only one is written here."""
    text = str(key.get("description", ""))
    return text.removesuffix(".").removesuffix(", in the documented keys")


def _inline(text: str) -> str:
    """A YAML scalar that is a string, whatever it looks like."""
    return on_one_line(text, flow=True)
