"""What `init` writes: the first project file, manifests, and the schemas for editors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synapse_apply import __version__
from synapse_apply.files.checkout import is_at_or_below_path, leads_outside_folder
from synapse_apply.manifests import schemas
from synapse_apply.manifests.export import SCHEMA_FILE, is_valid_name, to_valid_name
from synapse_apply.manifests.project.project import FILE_NAME, find_project_file
from synapse_apply.manifests.rewriting import create_new_file, existing_file_finding
from synapse_apply.manifests.yaml.reader import FILL_IN, read_single_mapping
from synapse_apply.manifests.yaml.writing import format_inline_scalar, format_schema_line
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.sources import SourceFiles
from synapse_apply.workspace.state_project import write_setting

MANIFESTS_FOLDER = "manifests"
FIRST_VERSION = "0.1.0"

PROJECT_TEXT = f"""\
apiVersion: synapse-apply/v1
kind: Project
manifests: [{MANIFESTS_FOLDER}/]

# The backend to use if you do not pass --target. The embedded backend always exists.
default_target: embedded

# Your own backends. Tokens come from the environment, never from this file.
# targets:
#   prod:
#     url: https://api.example.com
#     tenant: acme
#     token: {{env: SYNAPSE_PROD_TOKEN}}
#     variables: {{bucket: acme-prod}}

# Values that differ between targets; a manifest uses ${{var.bucket}}.
# variables:
#   bucket: {{default: acme-dev}}
"""
EXAMPLE_TEXT = """\
# A first storage, to see plan and apply work. `synapse-apply init KIND NAME` writes more.
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
class ProjectScaffold:
    """Texts by path, without the line that names their schema; `root` is the project's folder."""

    root: Path
    files: Mapping[Path, str]

    def write_scaffold(self) -> None:
        """Write all files, or none where one of them exists (InputError).

        Also writes the schemas that they name, where these do not exist yet.
        """
        if existing_paths := [path for path in self.files if path.exists()]:
            raise InputError(*map(existing_file_finding, existing_paths))
        for path in self.files:
            if is_at_or_below_path(path, self.root) and leads_outside_folder(path, self.root):
                detail = f"{path} would be {path.resolve()}: one of its folders is a link."
                raise InputError.from_summary("A link blocks the path", detail, "Remove the link.")
        for path, text in self.files.items():
            name = "project" if path.name == FILE_NAME else "manifest"
            schema = choose_schema_path(self.root, path, name)
            create_new_file(path, with_schema_line(text, path, schema))
            if not schema.exists() and not schema.parent.is_symlink():
                create_new_file(schema, schemas.format_schema(name))


def choose_schema_path(root: Path, file: Path, name: str) -> Path:
    """The path of a file's schema: an existing one beside it or in a folder above, else a new one.

    A new one goes into the folder of manifests, as with `export`.
    """
    schema_name = Path(SCHEMA_FILE.parent, f"{name}.schema.json")
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100 - links stay as they are written
    project_root = Path(os.path.abspath(root))  # noqa: PTH100
    for ancestor in (folder, *folder.parents):
        if (ancestor / schema_name).is_file():
            return ancestor / schema_name
        if ancestor == project_root:
            break
    manifests_folder = project_root / MANIFESTS_FOLDER
    is_outside_manifests = name == "manifest" and not folder.is_relative_to(manifests_folder)
    return (folder if is_outside_manifests else manifests_folder) / schema_name


def with_schema_line(text: str, file: Path, schema: Path) -> str:
    """The text under a comment that tells editors the path of the schema, relative to the file."""
    relative_path = os.path.relpath(schema, os.path.abspath(file.parent))  # noqa: PTH100
    return format_schema_line(Path(relative_path).as_posix()) + text


def write_template(folder: Path, text: str, out: Path | None) -> str:
    """Write a manifest to a new file `out`; returns its text, with the line that names its schema.

    Without `out` nothing is written, and the text is for a file in the folder of manifests.
    """
    project_file = find_project_file(folder)
    root = project_file.parent if project_file else folder
    file = out if out is not None else root / MANIFESTS_FOLDER / "new.yaml"
    if out is not None:
        ProjectScaffold(root, {file: text}).write_scaffold()
    return with_schema_line(text, file, choose_schema_path(root, file, "manifest"))


def build_project_scaffold(folder: Path) -> ProjectScaffold:
    """A project file and a first manifest; InputError inside another project."""
    if (project_file := find_project_file(folder)) is not None:
        raise InputError.from_summary(
            "There is already a project",
            f"{project_file} is the project file here.",
            Text(
                "Add manifests with ",
                Command("init KIND NAME"),
                ", or ",
                Command("init --from FOLDER"),
                ".",
            ),
        )
    files = {folder / FILE_NAME: PROJECT_TEXT}
    manifests_folder = folder / MANIFESTS_FOLDER
    if not (manifests_folder.is_dir() and any(manifests_folder.iterdir())):
        files[manifests_folder / "example.yaml"] = EXAMPLE_TEXT
    return ProjectScaffold(folder, files)


def build_plugin_scaffold(folder: Path, plugin: Path) -> ProjectScaffold:
    """Manifests for a plugin folder and its first release, and a project file where there is none.

    InputError when the folder does not exist, lies outside the project, or cannot be read.
    """
    project_file = find_project_file(folder)
    root = project_file.parent if project_file else folder
    if not plugin.is_dir():
        raise InputError.from_summary(
            "There is no such folder", f"{plugin} is not a folder.", "Name a plugin folder."
        )
    relative = os.path.relpath(plugin.resolve(), root.resolve())
    if relative.startswith(".."):
        raise InputError.from_summary(
            "The folder is outside the project",
            f"{plugin} is not inside {root}.",
            "Run the command in a folder that contains both, or move the plugin.",
        )
    source = Path(relative).as_posix()
    config_entry = SourceFiles(PackageSource("folder", source), root).config(read_single_mapping)
    config = config_entry[0] if config_entry else {}
    name = to_valid_name(str(config.get("code") or plugin.resolve().name))
    path = _inline("./" + source if source != "." else ".")
    # For whatever its config.yaml says the documents refer to the folder.
    lines = [
        "apiVersion: synapse-apply/v1",
        "kind: Plugin",
        f"metadata: {{name: {_inline(name)}}}",
        "spec:",
        f"  from: {path}  # name, code, description and category come from its config.yaml",
        *(() if config.get("name") else (f"  name: {_inline(name)}",)),
        "---",
        "apiVersion: synapse-apply/v1",
        "kind: Release",
        "spec:",
        f"  plugin: {_inline(name)}",
        *(() if config.get("version") else (f'  version: "{FIRST_VERSION}"',)),
        f"  source: {path}  # zipped and published; a new version is a new release",
        "",
    ]
    files = {root / MANIFESTS_FOLDER / f"{name}.yaml": "\n".join(lines)}
    if project_file is None:
        files = {root / FILE_NAME: PROJECT_TEXT, **files}
    return ProjectScaffold(root, files)


def pin_version(project_file: Path) -> None:
    """Write this version into a project file, so that no other one works on it; InputError."""
    write_setting(project_file, ("required_version",), __version__)


def build_manifest_template(kind: str, name: str, provider: str = "amazon_s3") -> str:
    """A manifest with placeholders; `kind` is plugin, release (NAME or NAME@VERSION) or storage.

    InputError for an invalid name and for an unknown provider.
    """
    name, separator, version = name.partition("@")
    if not is_valid_name(name) or (separator and kind != "release"):
        raise InputError.from_summary(
            "Invalid name",
            f"{name + separator + version!r} must consist of lower-case letters, "
            "digits, `.`, `_` and `-`.",
            Text("For example ", Command("init", kind, to_valid_name(name)), "."),
        )
    if kind == "plugin":
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
    if kind == "release":
        return f"""\
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: {_inline(name)}  # a Plugin manifest's metadata.name
  version: {json.dumps(version or "1.0.0")}
  # changelog: Initial release
  # is_stable: true
  source: ./plugins/{name}  # a folder; or file: dist/{name}.zip
"""
    return _format_storage_manifest(name, provider)


def _format_storage_manifest(name: str, provider: str) -> str:
    if provider not in schemas.known_providers():
        near = schemas.find_similar_provider(provider)
        hint = (
            f"Did you mean `{near}`?" if near else f"Known: {', '.join(schemas.known_providers())}."
        )
        raise InputError.from_summary("Unknown provider", f"{provider!r}.", hint)
    lines = [
        "apiVersion: synapse-apply/v1",
        "kind: Storage",
        f"metadata: {{name: {_inline(name)}}}",
        "spec:",
        f"  name: {_inline(name)}",
        f"  provider: {provider}",
        "  category: external",
        *_iter_configuration_lines(
            name, schemas.bundle_schema_with_referenced_files(f"providers/{provider}")
        ),
    ]
    return "\n".join(lines) + "\n"


def _iter_configuration_lines(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """One line per key of the provider's schema; keys that are not required are comments."""
    variable = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if schema.get("x-secret"):
        yield "  configuration: {}  # its keys are not documented; every value is secret:"
        yield f"  #   password: {{valueFrom: {{env: {variable}_PASSWORD}}}}"
        return
    yield "  configuration:"
    keys = schema["properties"]
    # Of two vocabularies the platform's, which its own tools read.
    vocabularies = schema.get("x-vocabularies", {})
    other_keys = vocabularies.get("documented", ())
    own_keys = dict(zip(other_keys, vocabularies.get("platform", ()), strict=False))
    required_keys = {own_keys.get(key, key) for key in schemas.missing_required_keys(schema)}
    secret_keys = [key for key in keys if keys[key].get("x-secret") and key not in other_keys]
    # Where the schema requires none of the secret keys by itself, all are shown as required.
    required_keys |= set() if required_keys & set(secret_keys) else set(secret_keys)
    ordered_keys = [k for k in keys if k in required_keys] + [
        k for k in keys if k not in required_keys
    ]
    for key in (key for key in ordered_keys if key not in other_keys):
        value = FILL_IN
        if key in secret_keys:
            format_text = ", format: json" if "secretMap" in keys[key].get("$ref", "") else ""
            value = f"{{valueFrom: {{env: {variable}_{key.upper()}{format_text}}}}}"
        line_start = "    " if key in required_keys else "    # "
        # Without the note on its vocabulary: only one of them is written here.
        text = str(keys[key].get("description", "")).removesuffix(".")
        text = text.removesuffix(", in the platform's keys")
        yield f"{line_start}{key}: {value}  # {text}"


def _inline(text: str) -> str:
    """A YAML scalar that is read back as a string, whatever the text looks like."""
    return format_inline_scalar(text, flow=True)
