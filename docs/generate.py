"""Writes the pages that are made from the code: `python docs/generate.py`, or `make docs`."""

from __future__ import annotations

import ast
import inspect
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Annotated, Any, get_args, get_origin

import click
import yaml

from synapse_apply import OpenTarget, open_target
from synapse_apply.cli.help_pages import LazyGroup, render_whole_page
from synapse_apply.cli.main import NAME, root
from synapse_apply.cli.texts.mcp import TOOLS
from synapse_apply.controller import api_types
from synapse_apply.controller.page.metrics import _StoreCollector as StoreCollector
from synapse_apply.controller.ports import LoopHealth
from synapse_apply.controller.rows import AuditRow
from synapse_apply.emulator.core.switches import PAGE as EMULATOR_PAGE
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.library import TargetJobs, TargetLive, TargetPackages, TargetState
from synapse_apply.model import errors
from synapse_apply.model.packages import RULES_BY_ID

LAYERS = (
    *("cli", "controller", "library", "operations", "live", "workspace"),
    *("manifests", "secrets", "packages", "planning", "applying", "stores", "views"),
    *("files", "secret_sources", "kinds", "client", "model", "emulator"),
)
DOCS = Path(__file__).resolve().parent
SCHEMAS = DOCS.parent / "schemas" / "v1"
WIDTH = 96

# Parts of the schemas that have a name people know.
WORDS = {
    "name": "name",
    "labels": "map of strings",
    "id": "string or integer",
    "version": "version",
    "pointers": "list of JSON Pointers",
    "secret": "secret",
    "secretMap": "secret, string or JSON",
    "source": "folder, or `{path, ref}`",
    "envRef": "`{env: NAME}`",
    "credentialRef": "`{env: NAME}` or `{file: PATH}`",
    "valueFrom": "`{valueFrom: ...}`",
    "policy.schema.json": "map",
    "targetList": "map",
    "duration": "duration",
    "resources": "list of addresses, patterns and kinds",
    "exceptions": "list of addresses, patterns and kinds, or of `{address, until, reason}`",
    "ignored": "list of JSON Pointers, or of `{path, until, reason}`",
    "until": "day, as `2026-12-31`",
}
MORE = {
    "targets.NAME.state.url": "A path, or `sqlite:///PATH`, relative to the project file; or "
    "`postgresql://USER@HOST/DATABASE`, `s3://BUCKET/FOLDER`, `az://CONTAINER/FOLDER` or "
    "`git:REMOTE`, which machines can share ([state.md](state.md)). A url with a password comes "
    "from "
    "`{env: NAME}`.",
    "policy": "Its fields are [below](#the-policy).",
    "targets.NAME.policy": "Its fields are [below](#the-policy).",
}
COMMANDS = """\
# Commands

What `synapse-apply COMMAND --help-all` says, for every command. `make docs` writes this page from
the commands.
"""
MANIFESTS = """\
# Manifests, the project file, controller.yaml

Every field. `make docs` writes this page from the schemas in [schemas/v1](../schemas/v1). An editor
with a YAML language server checks and completes a file that begins with

```yaml
# yaml-language-server: $schema=PATH/TO/schemas/v1/manifest.schema.json
```

`synapse-apply explain storage.spec` explains a field and the fields below it; with `--provider`
the configuration of a storage. `synapse-apply schema manifest` prints a schema.
`synapse-apply validate` checks everything, without backend, credentials or secret values, and shows
every finding with file, line and column.

## Rules for all

- Scalars are YAML 1.2: `no`, `on` and `0755` are strings. `version: 1.10` is the number 1.1:
  quote it.
- Unknown fields, duplicate keys, tabs and text that is not UTF-8 are errors.
- The tool never sends a field that you leave out in a create, and keeps its live value in an
  update. `""`, `[]` and `{}` are values. null is an error, except inside free-form maps.
- `${var.NAME}` puts a declared variable in any string of `spec`, except `spec.plugin`. A string
  that is only `${var.NAME}` takes the variable's type. `$${` writes `${`.
- Maps are compared key by key, lists as one value.
- In `configuration`, keys that no manifest names keep their live values, unless `lifecycle.own`
  names them.
- The tool reads no path that a link leads out of the project, no device, no pipe, and no file over
  64 MiB. The project file, and files named on the command line, may be links inside the repository.
- Names in a package that differ only in case, or have invisible characters or characters that
  reorder a line (zero-width, bidirectional controls), are errors. Names that Windows cannot have,
  such as `aux.py`, `what?` or `a.`, are warnings.

## Secrets

Fields marked *secret* take one of

| Form | Value |
| --- | --- |
| `{valueFrom: {env: NAME}}` | a variable that `allow_env` allows; without it, any not forbidden |
| `{valueFrom: {file: PATH}}` | a file in the project, or a file that `allow_files` lists |
| `{valueFrom: {vault: {path: PATH, key: KEY}}}` | a secret in the target's [Vault](vault.md) |
| `{valueFrom: {live: true}}` | keeps what the server has |

One trailing newline of a file is dropped. `format: json` next to any of them but `live` reads a
structured secret. A secret in plain text is a warning, and an error with `--strict`. A provider
that is not listed below is a warning; all its values are treated as secret.

Free-form fields of plugins and releases (`configuration`, `detail`, `config`) may hold secrets,
too. `lifecycle.sensitive` names them:

```yaml
kind: Plugin
metadata: {name: image-processing}
lifecycle:
  sensitive: [/configuration/auth/token, /configuration/keys]
spec:
  name: Image Processing Plugin
  configuration:
    auth: {user: reader, token: {valueFrom: {env: IMAGES_TOKEN}}}
    keys: {valueFrom: {file: secrets/keys.json, format: json}}
```

- A named field takes `valueFrom` and is compared, recorded and shown as any secret. If a map is
  named, everything in it is secret. A list is one value.
- The state remembers what is a secret. If a manifest no longer names such a field, plans warn, and
  still do not show its value. The same holds for a secret that only a lost call sent. To make the
  field public, `synapse-apply state rm` the resource and adopt it again.
- If a value was applied before you named it, the state has it in plain text until the next apply,
  and so do older backups: replace the secret.
- A value that looks like a secret, by its form or by its name and its randomness, and is not named
  is a warning. The comment `# pragma: allowlist secret` on its line marks the value as not secret.
- An update of a plugin sends the whole object, so `{live: true}` does not work there: the tool
  never sends back what it read.
"""
PACKAGES = """\
# Packages, read as the platform will

To know whether the platform takes a package, run `synapse-apply validate`, which checks the
packages of all releases, or `synapse-apply validate PACKAGE`: a folder, a zip, a folder at a Git
ref (`--ref`), or the package of a release. Both need no backend. Each finding has the file, the
line and the id of its rule, in every form of report. `make docs` writes this page from the code.

```console
$ synapse-apply validate plugins/yolo
Error: Version is not a string
  on plugins/yolo/config.yaml:3:1, field version, rule package:version
  `version` is a number (1.0) where a string is needed
  Hint: write X.Y.Z, such as 1.2.0
```

## How much a rule weighs

| Level | Meaning |
| --- | --- |
| error | nothing can be published |
| refused | the platform's own tools refuse such a package |
| warning | it may go wrong; an error with `--strict` |
| note | for information, also with `--strict` |

`validate -t embedded`, and `validate` of a project with no other target, turns *refused* into a
warning, because the embedded backend takes such a package. `validate PACKAGE` does not.

`plan` and `apply` check the package of each release that they would create, also with `--offline`,
but not of a published release. An error refuses the release, with the finding as a row of the plan.
Warnings and notes are not shown there.

A zip has a directory (the list of its files, at its end) of at most 8 MiB: some 80,000 files with
names of 50 characters. A larger one is an error, before any of it is read.

- `--no-package-check RULE` of `plan` and `apply` ignores a rule for one run, such as
  `package:data-type`. The plan says so. A saved plan keeps the rules that it was made with, and
  `apply FILE` cannot add to them.
- No option ignores a rule about secrets. If a detected secret grants no access (for example, a
  sample value), allow that one finding in the project file's policy: see
  [policy.md](policy.md#secrets-in-packages).

## config.yaml

`synapse-apply schema package-config` prints the schema, for an editor:

```yaml
# yaml-language-server: $schema=PATH/TO/schemas/v1/package-config.schema.json
```

The platform reads config.yaml at the package's root; in a zip without one, the file that ends in
`config.yaml` and has the shortest path. It reads YAML 1.1, where an unquoted `yes` or `2026-11-26`
is not a string. The tool publishes a package unchanged. So config.yaml must have what the
platform's own publisher would write into it first (entrypoints, types, hyperparameters found in
the code).

## Secrets

The tool searches text files of at most 512 KiB for credentials of well-known forms (private keys,
AWS, GitHub, GitLab, Slack, Google, Synapse, Hugging Face, OpenAI, Anthropic, Stripe, npm, PyPI,
SendGrid, Azure, JSON Web Tokens), for passwords in URLs, and for random-looking values of names
that end in `api_key`, `_key`, `token`, `secret`, `password` or a similar word. It reads `env`,
`runtime_env.env_vars` and `container.env` of config.yaml as YAML does. It never shows a value. A
comment of detect-secrets says that a line holds no secret: `# pragma: allowlist secret` on the
line, or `# pragma: allowlist nextline secret` above it.

## What packages need

`dependencies` of config.yaml maps codes of other plugins to specifiers (`{sam: ">=1.2,<2"}`). The
tool publishes a release after the newest declared release of each plugin that fits, or after the
plugin if none fits. If that fails, so does what needs it. `synapse-apply validate --graph` draws
these arrows. A dependency that no manifest declares is a warning, because it may be on the backend.
So is a declared release that does not fit: an older release may fit. The plan refuses plugins that
depend on each other in a circle.

## Rules
"""
WORDS_OF_THE_CONTROLLER = {"secret": "`{env: NAME}` or `{file: PATH}`", "duration": "duration"}
CONTROLLER = """\
The configuration of a [controller](controller.md). A duration is `30s`, `5m`, `12h` or `90d`. A
secret is `{env: NAME}` or `{file: PATH}`, never a value.
"""
POLICY = """\
[policy.md](policy.md) says what the rules mean. With `severity: off`, you can leave out required
fields.
"""
# What scripts read of a result, where its class is not told on the page.
RESULTS = {
    "BackendOffer": "`rows`, `unasked`, `empty_state_risk`",
    "BumpResult": "the edits",
    "CreatedState": "`lineage`, `key_file`, `steps`",
    "Drift": "with `write_drift`: `written_edits`",
    "ExportedFiles": "`report`, `files`, `inventory`",
    "PackageInside": "digest, files, sizes",
    "PermittedApply": "`report`, `used_approvals`, `stop_reason`",
    "Rebinding": "`changes_anything`, `bound_text`, `new_text`",
    "RekeyResult": "`key_id`, `rekeyed_count`, `kept_reasons`, `new_key_lines`",
    "RestoredState": "`exchange`, `kept_location`, `warnings`",
    "RunningJobs": "`jobs`, `is_cut`, `unread_reason`",
    "SaveResult": "`is_signed`",
    "SettledCalls": "`calls`, `has_open_calls`, `findings`",
    "StartedRun": "`job`, `answer`, `status`",
    "ValidationResult": "`diagnostics`, `counts`, `summary`",
    "WrittenZip": "as `PackageInside`, and `file`",
}
# Which command does what a method of the library does.
COMMANDS_OF_METHODS = {
    "validate": "`validate`",
    "read_manifests": "`validate --graph`",
    "plan": "`plan`",
    "plan_offline": "`plan --offline --against`",
    "apply": "`apply`",
    "save_plan": "`plan --out FILE`",
    "apply_saved": "`apply FILE`, `apply --reviewed FILE`",
    "find_changes_since": "`show FILE`",
    "find_resource": "`show ADDRESS`",
    "drift": "`drift`",
    "write_drift": "`drift --write`",
    "import_objects": "`import`",
    "history": "`state history`",
    "find_run": "`state history show`",
    "verify": "`verify`",
    "compare_published_bytes": "`verify --bytes`",
    "diagnose": "`doctor`",
    "live.read_offer": "`state init`",
    "live.list_objects": "`get`",
    "live.find_object": "`get`",
    "live.list_releases": "`get releases --plugin`",
    "live.find_plugin_of_release": "`get --expand plugin`",
    "live.export_manifests": "`export`",
    "packages.check_package": "`validate PACKAGE`",
    "packages.read_package": "`package show --digest`",
    "packages.list_contents": "`package show`",
    "packages.write_zip": "`package build`",
    "packages.compare_with_published": "`package diff`",
    "packages.bump_version": "`bump`",
    "jobs.iter_jobs": "`get jobs`",
    "jobs.read_job": "`get job`",
    "jobs.show_log": "`jobs logs`",
    "jobs.follow_log": "`jobs logs --follow`",
    "jobs.stop_job": "`jobs stop`",
    "jobs.run_plugin": "`run`",
    "jobs.wait_for_result": "`run --follow`",
    "state.read_with_open_calls": "`state show`",
    "state.find_record": "`state show`",
    "state.list_inventory": "`state show --inventory`",
    "state.format_inventory": "`state show --inventory`",
    "state.write_backup": "`state backup`",
    "state.restore": "`state restore`",
    "state.exists": "`state show`",
    "state.read_key": "`state key`",
    "state.copy_key": "`state key`",
    "state.create": "`state init`",
    "state.rekey": "`state rekey`",
    "state.rebind": "`state rebind`",
    "state.copy_to": "`state backup --to`",
    "state.list_steps_after_copy": "`state backup --to`",
    "state.unlock": "`state unlock`",
    "state.accept": "`state accept`",
    "state.undo_accept": "`state accept --undo`",
    "state.settle": "`state settle`",
    "state.settle_as_not_done": "`state settle --absent`",
    "state.settle_with_job": "`state settle --job`",
    "state.record_calls": "`state record`",
    "state.forget": "`state rm`",
    "state.rename": "`state mv`",
}
LLMS = """\
All of these pages in one file: [llms-full.txt](llms-full.txt). How an agent works with the tool,
and what it must not do: [skill/SKILL.md](skill/SKILL.md).
"""


@dataclass(frozen=True)
class Row:
    """One field: where it stands, what it takes, whether it must be there, what it is."""

    path: tuple[str, ...]
    takes: str
    required: bool
    text: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


def commands_page() -> str:
    """docs/commands.md."""
    pages = [f"\n## {name}\n\n```text\n{text}\n```\n" for name, text in commands()]
    return COMMANDS + "".join(pages)


def commands(group: LazyGroup = root, prefix: str = NAME) -> Iterator[tuple[str, str]]:
    """Every command's full name and help, the groups' own among them."""
    yield prefix, _help(group, prefix)
    context = group.context_class(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if not group.entries[name].is_listed:
            continue
        if isinstance(found, LazyGroup):
            yield from commands(found, f"{prefix} {name}")
        elif found is not None:
            yield f"{prefix} {name}", _help(found, f"{prefix} {name}")


def _help(command: click.Command, name: str) -> str:
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    with command.context_class(command, info_name=name, **settings) as context:
        lines = render_whole_page(context).splitlines()
    return "\n".join(line.rstrip() for line in lines)


def manifests_page() -> str:
    """docs/manifests.md."""
    parts = [MANIFESTS]
    for kind in ("plugin", "release", "storage"):
        spec = _load(SCHEMAS / f"{kind}.schema.json")["properties"]["spec"]
        parts.append(f"\n## {kind.capitalize()}\n\n{table(rows(kind))}")
        parts.append(alternatives(spec, "spec."))
    parts.append("\n## Configuration of storages, by provider\n")
    parts += [provider(file) for file in sorted((SCHEMAS / "providers").glob("*.json"))]
    parts.append(f"\n## The project file\n\n{table(rows('project'))}")
    parts.append(f"\n## The policy\n\n{POLICY}\n{table(policy_rows())}")
    parts.append(f"\n## controller.yaml\n\n{CONTROLLER}\n{table(controller_rows())}")
    return "".join(parts)


def controller_rows() -> list[Row]:
    """The fields of controller.yaml, whose schema has parts of its own."""
    schema = _load(SCHEMAS / "controller.schema.json")
    parts = schema["$defs"]

    def open_parts(node: Any) -> Any:
        if isinstance(node, list):
            return [open_parts(item) for item in node]
        if not isinstance(node, dict):
            return node
        part, *inside = str(node.get("$ref", "")).removeprefix("#/$defs/").split("/")
        if part in parts and (inside or part not in WORDS_OF_THE_CONTROLLER):
            found = parts[part]
            for key in inside:
                found = found[key]
            node = {**found, **{key: node[key] for key in node if key != "$ref"}}
        return {key: open_parts(value) for key, value in node.items()}

    rows = _properties(open_parts({**schema, "$defs": {}}), (), "")
    return [replace(row, takes=WORDS_OF_THE_CONTROLLER.get(row.takes, row.takes)) for row in rows]


def provider(file: Path) -> str:
    """One provider's section."""
    schema = _load(file)
    heading = f"\n### {file.name.partition('.')[0]}\n\n"
    if "properties" not in schema:
        secrecy = "the tool accepts any key and treats every value as a secret"
        return f"{heading}Its keys are not documented: {secrecy}.\n"
    text = table(list(_properties(schema, (), ""))) + alternatives(schema)
    words = schema.get("x-vocabularies")
    if words:
        one, other = (", ".join(f"`{key}`" for key in keys) for keys in words.values())
        text += f"\nEither the documented keys ({one}) or the platform's ({other}), never both.\n"
    return heading + text


def rows(schema: str) -> list[Row]:
    """Every field of a schema, in its order."""
    loaded = _load(SCHEMAS / f"{schema}.schema.json")
    for clause in loaded.get("allOf", ()):
        # What an object that is not external must have.
        spec = clause.get("else", {}).get("properties", {}).get("spec", {})
        loaded["properties"]["spec"] |= {"required": spec["required"]} if spec else {}
    return list(_properties(loaded, (), schema))


def packages_page() -> str:
    """docs/packages.md."""
    lines = ["| Rule | Level | Finding | What is asked for |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{rule.id}` | {rule.level.value} | {rule.title} | {rule.text} |"
        for rule in RULES_BY_ID.values()
    ]
    return f"{PACKAGES}\n" + "\n".join(lines) + "\n"


def ci_page() -> str:
    """docs/ci.md, with the inputs of the action and of the component between its marks."""
    page = (DOCS / "ci.md").read_text(encoding="utf-8")
    action = (DOCS.parent / "action.yml").read_text(encoding="utf-8")
    component = (DOCS.parent / "templates" / "synapse-apply.yml").read_text(encoding="utf-8")
    inputs = {
        "action": yaml.safe_load(action)["inputs"],
        "component": next(yaml.safe_load_all(component))["spec"]["inputs"],
    }
    for name, found in inputs.items():
        lines = ["| Input | Default | What it is |", "| --- | --- | --- |"]
        for key, given in found.items():
            default = _show_default(given["default"]) if given["default"] else ""
            lines.append(f"| `{key}` | {default} | {' '.join(given['description'].split())} |")
        page = _put_between(page, name, lines)
    return page


def _put_between(page: str, mark: str, lines: list[str]) -> str:
    """The page with these lines between the two marks of that name."""
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->"
    head, _, rest = page.partition(begin)
    return f"{head}{begin}\n" + "\n".join(lines) + f"\n\n{end}{rest.partition(end)[2]}"


def library_page() -> str:
    """docs/library.md, with what docstrings say of methods, arguments and errors."""
    page = (DOCS / "library.md").read_text(encoding="utf-8")
    parts = {"": OpenTarget, "live.": TargetLive, "packages.": TargetPackages, "jobs.": TargetJobs}
    lines = ["| Method | What it does | Returns | Command |", "| --- | --- | --- | --- |"]
    for part, kind in {**parts, "state.": TargetState}.items():
        names = vars(kind) if part else dir(kind)
        for name in names:
            if name.startswith("_") or f"{name}." in {*parts, "state."}:
                continue
            lines.append(_method_row(f"{part}{name}", inspect.getattr_static(kind, name)))
    page = _put_between(page, "methods", lines)
    lines = ["| Argument | Default | Meaning |", "| --- | --- | --- |"]
    said = dict(
        re.findall(r"(?ms)^- `(\w+)`: (.*?)(?=\n- |\n\n)", inspect.getdoc(open_target) or "")
    )
    for name, parameter in inspect.signature(open_target).parameters.items():
        default = f"`{parameter.default!r}`".replace("'", '"')
        lines.append(f"| `{name}` | {default} | {' '.join(said[name].split())} |")
    page = _put_between(page, "arguments", lines)
    lines = ["| Error | Raised when |", "| --- | --- |"]
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.SynapseApplyError):
            told = " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())
            lines.append(f"| `{name}` | {told} |")
    del lines[2]  # SynapseApplyError, which all are
    return _put_between(page, "errors", lines)


def layers_page() -> str:
    """ARCHITECTURE.md, with what the packages and their folders say they are."""
    page = (DOCS.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    lines = ["| Layer, from the top | What it is |", "| --- | --- |"]
    for layer in LAYERS:
        folder = DOCS.parent / "synapse_apply" / layer
        below = sorted(folder.glob("*/__init__.py"))
        said = [_describe_package(folder / "__init__.py")]
        said += [f"`{file.parent.name}/`: {_describe_package(file)}" for file in below]
        lines.append(f"| `{layer}/` | {' '.join(said)} |")
    return _put_between(page, "layers", lines)


def _describe_package(file: Path) -> str:
    told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(told.partition("\n\n")[0].split())


def faults_page() -> str:
    """docs/faults.md, with what its schema says of each deed."""
    page = (DOCS / "faults.md").read_text(encoding="utf-8")
    lines = ["| Fault | What happens |", "| --- | --- |"]
    for deed in _load(SCHEMAS / "faults.schema.json")["$defs"]["deed"]["oneOf"]:
        first, *more = (f"`{json.dumps(example)}`" for example in deed["examples"])
        lines.append(f"| {first} | {deed['description']} |")
        lines += [f"| {example} | |" for example in more]
    return _put_between(page, "deeds", lines)


def policy_page() -> str:
    """docs/policy.md, with what the schema says of each rule."""
    page = (DOCS / "policy.md").read_text(encoding="utf-8")
    known = _load(SCHEMAS / "policy.schema.json")["properties"]["rules"]["items"]["properties"]
    lines = ["| Rule | What it requires |", *_describe_values(known["rule"])]
    return _put_between(page, "rules", lines)


def messages_page() -> str:
    """docs/controller-messages.md, with what the schema says of each event."""
    page = (DOCS / "controller-messages.md").read_text(encoding="utf-8")
    channel = _load(SCHEMAS / "controller.schema.json")["properties"]["notify"]["items"]
    lines = ["| Event | What happened |", *_describe_values(channel["properties"]["on"]["items"])]
    return _put_between(page, "events", lines)


def _describe_values(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "| --- | --- |"
    for value, told in zip(schema["enum"], schema["enumDescriptions"], strict=True):
        yield f"| `{value}` | {told} |"


def tools_page() -> str:
    """docs/mcp.md, with the tools as they describe themselves."""
    page = (DOCS / "mcp.md").read_text(encoding="utf-8")
    lines = ["| Tool | Arguments | What it does |", "| --- | --- | --- |"]
    for name, tool in TOOLS.items():
        arguments = ", ".join(f"`{argument}`" for argument in tool.arguments)
        lines.append(f"| `{name}` | {arguments} | {tool.text} |")
    return _put_between(page, "tools", lines)


def metrics_page() -> str:
    """docs/controller-reference.md, with the metrics, as `/metrics` explains them."""
    page = (DOCS / "controller-reference.md").read_text(encoding="utf-8")
    nothing = SimpleNamespace(
        list_configured_sources=list,
        list_restoring_targets=list,
        list_rollouts=list,
        unsent=lambda: ((), ()),
        target_page=lambda *_: SimpleNamespace(targets=()),
    )
    health = LoopHealth(interval=0, round_age=0, clock_offset=0)
    lines = ["| Metric | What it is |", "| --- | --- |"]
    for family in sorted(StoreCollector(nothing, health).collect(), key=lambda found: found.name):
        total = "_total" if family.type == "counter" else ""
        labels = ", ".join(vars(family)["_labelnames"])
        labels = f"{{{labels}}}" if labels else ""
        lines.append(f"| `{family.name}{total}{labels}` | {family.documentation} |")
    return _put_between(page, "metrics", lines)


def _method_row(name: str, found: Any) -> str:
    called = found.fget if isinstance(found, property) else found
    signature = inspect.signature(called)
    words = []
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(parameter.name)
    text = ", ".join(words if len(words) < 9 else [*words[: words.index("*")], "..."])
    shown = name if isinstance(found, property) else f"{name}({text})"
    told = " ".join((inspect.getdoc(called) or "").partition("\n\n")[0].split())
    gives = str(signature.return_annotation).strip("'").replace("|", "or")
    inside = RESULTS.get(gives.removesuffix(" or None"), "")
    gives = "" if gives == "None" else f"`{gives}`" + (f": {inside}" if inside else "")
    return f"| `{shown}` | {told} | {gives} | {COMMANDS_OF_METHODS.get(name, '')} |"


def _show_default(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def policy_rows() -> list[Row]:
    """The fields of a policy, and those of its rules with the rules that have them."""
    schema = _load(SCHEMAS / "policy.schema.json")
    rules = ("policy", "rules", "N")
    # Those of a rule come from the groups below, which say of which rules they are.
    found = [row for row in _properties(schema, ("policy",), "") if row.path[:3] != rules]
    owners: dict[str, list[str]] = {}
    fields: dict[str, Row] = {}
    groups = [group for group in schema["$defs"].values() if "properties" in group]
    for group in groups:
        for row in _properties({**group, "required": group.get("else", {}).get("required", ())},
                               rules, ""):  # fmt: skip
            fields[row.name] = row
            owners.setdefault(row.name, []).extend(group["properties"]["rule"]["enum"])
    every = schema["properties"]["rules"]["items"]["properties"]["rule"]["enum"]
    for name, row in fields.items():
        whose = owners[name]
        if name.endswith(".rule"):
            whose = [f"`{rule}`" for rule in every]
            found.append(replace(row, takes=", ".join(whose), required=True))
        elif len(whose) < len(every) and (row.required or name.endswith(".timezone")):
            found.append(replace(row, text=f"{row.text} Of {', '.join(whose)}."))
        else:
            found.append(row)
    return found


def alternatives(schema: Mapping[str, Any], at: str = "") -> str:
    """A sentence on fields of which one must be there, "" where there are none."""
    for key, words in (("anyOf", "At least one"), ("oneOf", "Exactly one")):
        named = [one["required"][0] for one in schema.get(key, ()) if list(one) == ["required"]]
        if named:
            return f"\n{words} of {', '.join(f'`{at}{name}`' for name in named)} is required.\n"
    return ""


def table(found: list[Row]) -> str:
    """A Markdown table of fields."""
    lines = ["| Field | Takes | Required | What it is |", "| --- | --- | --- | --- |"]
    for row in found:
        need = "yes" if row.required else ""
        lines.append(f"| `{row.name}` | {row.takes} | {need} | {row.text.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def _load(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


_PARTS = {
    **_load(SCHEMAS / "parts.schema.json")["$defs"],
    "exceptions": _load(SCHEMAS / "policy.schema.json")["$defs"]["exceptions"],
}


def _properties(schema: Mapping[str, Any], at: tuple[str, ...], kind: str) -> Iterator[Row]:
    required = schema.get("required", ())
    for name, given in schema.get("properties", {}).items():
        yield from _field(given, (*at, name), kind, required=name in required)
    named = schema.get("additionalProperties")
    if isinstance(named, Mapping) and named.get("properties"):
        yield from _properties(named, (*at, "NAME"), kind)


def _field(
    given: Mapping[str, Any], path: tuple[str, ...], kind: str, *, required: bool
) -> Iterator[Row]:
    schema = _without_template({**_PARTS.get(_part(given), {}), **given})
    part = _part(schema)
    opened = schema if part in {"", "lifecycle"} else {}
    texts = [given.get("description", ""), MORE.get(".".join(path), "")]
    yield Row(path, WORDS.get(part) or _takes(schema), required, " ".join(filter(None, texts)))
    yield from _properties(opened, path, kind)
    yield from _properties(_rows_of(schema), (*path, "N"), kind)
    if _part(schema.get("else", {})) == "targetList":
        yield from _properties(_target_list(), path, kind)


def _target_list() -> Mapping[str, Any]:
    """The schema of a list of targets; its template has the fields of a target, told there."""
    schema = _load(SCHEMAS / "project.schema.json")["$defs"]["targetList"]
    template = {**schema["properties"]["template"], "properties": {}}
    return {**schema, "properties": {**schema["properties"], "template": template}}


def _rows_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a list's maps; empty for a list of anything else."""
    items: Mapping[str, Any] = schema.get("items", {})
    items = items.get("then", items)
    return items if "properties" in items else {}


def _part(given: Mapping[str, Any]) -> str:
    return str(given.get("$ref", "")).rpartition("/")[2]


def _without_template(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema proper of a field that a variable may stand in."""
    kept = [one for one in schema.get("anyOf", ()) if _part(one) != "template"]
    return {**schema, **kept[0]} if len(kept) == 1 and "properties" not in schema else schema


def _takes(schema: Mapping[str, Any]) -> str:
    if "then" in schema and "properties" not in schema:
        first, other = schema["then"], schema["else"]
        words = [WORDS.get(_part(other)) or _takes(other), WORDS.get(_part(first)) or _takes(first)]
        return " or ".join(words)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if named := WORDS.get(_part(schema.get("additionalProperties") or {})):
        return f"map of names to {named}"
    kinds = schema.get("type", "anything")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds == ["array"] and _part(schema.get("items", {})) == "targetList":
        return "list of maps"
    if kinds == ["array"] and "rule" in _rows_of(schema).get("properties", {}):
        return "list of rules"
    if kinds == ["array"] and "enum" in schema.get("items", {}):
        return f"list of {', '.join(f'`{value}`' for value in schema['items']['enum'])}"
    if kinds == ["array"]:
        return "list of maps" if _rows_of(schema) else "list of strings"
    words = {"object": "map", "boolean": "`true` or `false`", "null": "null"}
    return " or ".join(words.get(kind, kind) for kind in kinds)


def api_schema() -> str:
    """The schema of the controller's API, of its types; words for people stay as they are there."""
    file = SCHEMAS / "controller-api.schema.json"
    schema = json.loads(file.read_text("utf-8"))
    for name, told in schema["$defs"].items():
        if kind := API_OBJECTS.get(name) or getattr(api_types, name, None):
            told.update(_api_object(kind, told, is_document=name == kind.__name__))
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


API_OBJECTS = {
    "target": api_types.Target,
    "running_jobs": api_types.RunningJobs,
    "revision": api_types.Revision,
    "run": api_types.ListedRun,
    "calls": api_types.Calls,
    "hold": api_types.Hold,
    "pause": api_types.Pause,
    "audit_row": AuditRow,
    "rollout": api_types.ListedRollout,
    "wave": api_types.Wave,
    "rollout_target": api_types.RolloutTarget,
}


def _api_object(kind: type, told: Mapping[str, Any], *, is_document: bool) -> dict[str, Any]:
    """The keys of an object, each with its type; `told` is what the schema says of it until now."""
    head: dict[str, Any] = {}
    if is_document:
        head = {"apiVersion": {"const": api_types.API_VERSION}, "kind": {"const": kind.__name__}}
    properties = told.get("properties", {})
    fields = {
        name: _api_value(hint, properties.get(name, {}))
        for name, hint in api_types.hints_of(kind).items()
    }
    optional = {"processes"}  # not in the first version
    required = [name for name in [*head, *fields] if name not in optional]
    return {"type": "object", "required": required, "properties": {**head, **fields}}


def _api_value(hint: Any, told: Mapping[str, Any]) -> dict[str, Any]:
    """A value of a declared type. What `told` has stays: a reference, words, bounds, a sentence."""
    if "$ref" in told or "oneOf" in told:
        return dict(told)
    parts, is_null = get_args(hint), NoneType in get_args(hint) or hint in NULL_FOR_NONE
    if NoneType in parts:
        return {**_api_value(parts[0], told), **_or_null(_api_value(parts[0], {}))}
    made: dict[str, Any] = {}
    if hint in {api_types.Time, api_types.Moment}:
        made = {"type": "string", "format": "date-time"}
    elif get_origin(hint) is Annotated and isinstance(parts[1], type):
        made = {"enum": [word.value for word in parts[1]]}
    elif isinstance(hint, type) and issubclass(hint, Enum):
        made = {"enum": [word.value for word in hint]}
    elif get_origin(hint) is tuple:
        made = {"type": "array", "items": _api_value(parts[0], told.get("items", {}))}
    elif get_origin(hint) is Mapping:
        made = {"type": "object"}
    elif api_types.is_shape(hint):
        made = _api_object(hint, told, is_document=False)
    elif "enum" not in told:
        made = {"type": JSON_TYPES[parts[0] if parts else hint]}
    made = _or_null(made) if is_null else made
    return {**made, **told, **made}


def _or_null(made: Mapping[str, Any]) -> dict[str, Any]:
    return {**made, "type": [made["type"], "null"]} if "type" in made else dict(made)


JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
NULL_FOR_NONE = {api_types.Text, api_types.Time, api_types.Number}


def manifest_schema() -> str:
    """The schema of a manifest, with every kind of the catalogue."""
    schema = _load(SCHEMAS / "manifest.schema.json")
    kinds = [CATALOGUE[name] for name in sorted(CATALOGUE)]
    schema["properties"]["kind"]["enum"] = [kind.kind for kind in kinds]
    schema["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind.kind}}, "required": ["kind"]},
            "then": {"$ref": f"{kind.prefix}.schema.json"},
        }
        for kind in kinds
    ]
    return _to_json(schema)


def policy_schema() -> str:
    """The schema of a policy, whose addresses are of the kinds of the catalogue."""
    schema = _load(SCHEMAS / "policy.schema.json")
    pattern = rf"^(({'|'.join(sorted(CATALOGUE))})(/.+)?|\*/.+)$"
    schema["$defs"]["resources"]["items"]["pattern"] = pattern
    return _to_json(schema)


def project_schema() -> str:
    """The schema of a project file, where each kind of the catalogue has an API version."""
    schema = _load(SCHEMAS / "project.schema.json")
    target = schema["properties"]["targets"]["additionalProperties"]["properties"]
    versions = target["api"]["then"]
    other = versions["properties"]["*"]
    versions["properties"] = {
        **{name: {**other, "description": f"For {name}s."} for name in sorted(CATALOGUE)},
        "*": other,
    }
    return _to_json(schema)


def _to_json(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def llms_page() -> str:
    """docs/llms.txt: what is where, for a model (https://llmstxt.org)."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sections = (DOCS / "README.md").read_text(encoding="utf-8").partition("\n## ")[2]
    return f"# {project['name']}\n\n> {project['description']}.\n\n{LLMS}\n## {sections}"


def joined_pages() -> str:
    """docs/llms-full.txt: all pages in one, in the order of docs/README.md."""
    names = ["skill/SKILL.md", *re.findall(r"\]\(([\w-]+\.md)\): ", llms_page())]
    texts = ((name, (DOCS / name).read_text(encoding="utf-8")) for name in names)
    return "".join(f"<!-- docs/{name} -->\n\n{text}\n" for name, text in texts)


# The joined file is not kept in Git: it would have every text a second time.
PAGES = {
    "../schemas/v1/manifest.schema.json": manifest_schema,
    "../schemas/v1/policy.schema.json": policy_schema,
    "../schemas/v1/project.schema.json": project_schema,
    "../schemas/v1/controller-api.schema.json": api_schema,
    "commands.md": commands_page,
    "manifests.md": manifests_page,
    "emulator.md": lambda: EMULATOR_PAGE.read_text(encoding="utf-8"),
    "packages.md": packages_page,
    "ci.md": ci_page,
    "library.md": library_page,
    "controller-reference.md": metrics_page,
    "faults.md": faults_page,
    "mcp.md": tools_page,
    "policy.md": policy_page,
    "controller-messages.md": messages_page,
    "../ARCHITECTURE.md": layers_page,
    "llms.txt": llms_page,
    "llms-full.txt": joined_pages,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (DOCS / page).write_text(make(), encoding="utf-8")
