"""How a plugin, a release and a storage document are decoded, with the secrets of their specs.

Secret fields are those that the kind's schema marks and those that the manifest names in
`lifecycle.sensitive`. A free-form value beside them that looks like a secret is a warning.

Findings name the path of a literal secret and never quote its text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import cache
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.run_forms import (
    PAGE_FORM,
    PLATFORM_FORM,
    describe_actions,
    list_action_names,
    to_platform_form,
)
from synapse_apply.manifests import schemas
from synapse_apply.manifests.decode.draft import PUBLISHED, DecodeContext, Draft, SourceConfig
from synapse_apply.manifests.yaml.reader import ONLY_FOR_SECRETS, VALUE_FROM, describe_value_kind
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import (
    FieldPath,
    Severity,
    format_json_pointer,
    parse_json_pointer,
)
from synapse_apply.model.frozen import mutable
from synapse_apply.model.json_types import DecodedSpec, Spec
from synapse_apply.model.packages import is_valid_version
from synapse_apply.model.phrases import (
    MAX_SUGGESTIONS,
    find_similar_word,
    format_field_path,
    format_short_list,
    suggest_words,
)
from synapse_apply.model.project import Provider
from synapse_apply.model.resource import PackageSource
from synapse_apply.model.secrets import credentials
from synapse_apply.model.secrets.secret_marks import UNMARKED, SpecMarks
from synapse_apply.model.values import Reference, SecretRef, Sensitive
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES, format_source_names
from synapse_apply.secret_sources.source import (
    build_reference_or_none_if_malformed,
    describe_malformed,
)

SENSITIVE = "sensitive"
_ABSENT = object()
# Searching for a similar name is slow, and a hostile document may have thousands of wrong paths.
_MAX_SUGGESTIONS = 20


@cache
def list_free_form_fields(schema: str) -> tuple[str, ...]:
    """The names of a kind's fields that hold free-form maps."""
    return tuple(name for name, rule in CATALOGUE[schema].rules.items() if rule.free_form)


def select_secret_marks(draft: Draft) -> SpecMarks:
    """Which fields of a document are secret: as its kind says, else as the document names them."""
    of_kind = draft.context.marks.kinds.get(draft.schema)
    if of_kind is not None:
        return of_kind.select_spec_marks(draft.spec)
    # The document need not fit its schema.
    block = draft.value.get("lifecycle")
    texts = block.get(SENSITIVE) if isinstance(block, dict) else None
    pointers = (
        parse_json_pointer(text)
        for text in (texts if isinstance(texts, list) else ())
        if isinstance(text, str) and text[:1] == "/"
    )
    named = frozenset(path for path in pointers if path[0] in list_free_form_fields(draft.schema))
    return UNMARKED.with_named_secret_paths(named) if named else UNMARKED


def replace_secrets(draft: Draft, spec: Spec) -> DecodedSpec:
    """The spec with a SecretRef in every secret field; secrets in plain text are reported."""
    walk = _SpecWalk(draft, select_secret_marks(draft))
    names = {path[0] for path in walk.marks.named} if walk.marks.named else ()
    wrapped = {
        # A text outside of the container is neither secret nor a reference.
        key: value
        if type(value) is str and key != walk.marks.container and key not in names
        else walk.split_plain_texts(value, (key,))
        for key, value in spec.items()
    }
    _warn_of_plain_texts(draft, walk.literals)
    if draft.schema not in draft.context.marks.kinds:
        for name in list_free_form_fields(draft.schema):
            _warn_of_lookalikes(draft, wrapped.get(name), (name,))
    return wrapped


def may_be_sensitive(draft: Draft, path: FieldPath, pointer_path: FieldPath) -> bool:
    """Whether `lifecycle.sensitive` may name this field; reports why not.

    A path at which nothing stands is allowed, with a warning. `pointer_path` is where the document
    names it.
    """
    free = list_free_form_fields(draft.schema)
    if draft.schema in draft.context.marks.kinds:
        selector = draft.context.marks.kinds[draft.schema].selector
        detail = f"the {selector} of a {draft.schema} determines which fields are secret"
        hint = f"remove this entry. Describe the keys of your own {selector} in the project file"
        draft.report(pointer_path, "Secrets of this kind are already known", detail, hint)
        return False
    if path[0] not in free:
        name = format_field_path(("spec", path[0]))
        detail = f"`{format_json_pointer(path)}` is never a secret: {name} is not a free-form map"
        hint = f"name a field inside of {', '.join(f'/{name}' for name in free)}"
        draft.report(pointer_path, "Not a free-form field", detail, hint)
        return False
    _warn_of_absent_path(draft, path, pointer_path)
    return True


def _warn_of_absent_path(draft: Draft, path: FieldPath, pointer_path: FieldPath) -> None:
    value: Any = draft.spec
    for end, part in enumerate(path):
        below = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
        if below is not _ABSENT:
            value = below
            continue
        text, above = format_json_pointer(path), format_field_path(("spec", *path[:end]))
        detail = f"`{text}` names no field of spec: {above} has no `{part}`"
        is_early = int(pointer_path[-1]) < _MAX_SUGGESTIONS
        hint = suggest_words(str(part), value) if isinstance(value, dict) and is_early else ""
        if isinstance(value, dict) and is_early and (near := find_similar_word(str(part), value)):
            hint = f"did you mean `{format_json_pointer((*path[:end], near, *path[end + 1 :]))}`?"
        elif isinstance(value, list):
            detail = f"`{text}` is inside {above}, a list, and a list is treated as one value"
            hint = f"name `{format_json_pointer(path[:end])}`: the whole list is then secret"
        draft.warn(pointer_path, "Sensitive path names nothing", detail, hint)
        return


def _warn_of_lookalikes(draft: Draft, value: Any, path: FieldPath) -> None:
    """Warn of each free-form value that looks like a secret and is not marked as one."""
    if isinstance(value, dict):
        for key, below in value.items():
            if isinstance(below, str | list | dict):
                _warn_of_lookalikes(draft, below, (*path, key))
        return
    kind = describe_lookalike(path, value)
    if not kind:
        return
    # A comment at or above the value's line may say that it is no secret.
    field_path: FieldPath = ("spec", *path)
    place, text = draft.find_position(field_path), draft.document.source
    if place is not None and place.file == text.file:
        lines = text.get_line_and_preceding(place.line)
        if credentials.is_line_allowed_by_comment(lines.split("\n"), 2):
            return
    source = f"env: {suggest_variable(path)}" + ", format: json" * isinstance(value, list)
    draft.warn(
        field_path,
        "Plain text that looks like a secret",
        f"`{format_field_path(field_path)}` contains {kind} but is not marked as a secret, so "
        "plans and the state show it",
        f"mark it, lifecycle: {{{SENSITIVE}: [{format_json_pointer(path)}]}}, and write "
        f"{{valueFrom: {{{source}}}}} there",
    )


def describe_lookalike(path: FieldPath, value: Any) -> str:
    """What kind of secret a free-form value, or a part of a list, looks like; "" for none."""
    name = str(path[-1])
    if isinstance(value, str):
        return credentials.guess_secret_kind(name, value)
    pairs: Iterable[tuple[str, Any]] = value.items() if isinstance(value, dict) else ()
    pairs = ((name, item) for item in value) if isinstance(value, list) else pairs
    return next((kind for key, item in pairs if (kind := describe_lookalike((key,), item))), "")


def suggest_variable(path: FieldPath) -> str:
    """The last key of a path as a name of an environment variable, such as `API_TOKEN`."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", str(path[-1])).upper()
    return f"_{name}" if name[:1].isdigit() else name


def _warn_of_plain_texts(draft: Draft, literals: list[FieldPath]) -> None:
    of_kind = draft.context.marks.kinds.get(draft.schema)
    provider = draft.spec.get(of_kind.selector) if of_kind and literals else None
    # A provider that the project describes is in these marks as well.
    if literals and of_kind and provider not in of_kind.secret_paths_by_value:
        if provider not in schemas.known_providers():
            return  # the unknown provider itself was reported, once
        # Any of them may be harmless: one finding, not one for each.
        names = ", ".join(format_field_path(path[1:]) for path in literals)
        draft.warn(
            ("spec", literals[0][0]),
            "Values that may be secrets in plain text",
            "the tool does not know which keys of this provider hold secrets, and these are "
            f"plain text: {names}",
            "write each secret as {valueFrom: {env: NAME}}",
        )
        return
    for path in literals:
        name = suggest_variable(path)
        draft.warn(
            ("spec", *path),
            "Secret in plain text",
            f"`{format_field_path(('spec', *path))}` is a secret, but its value is plain text, "
            "here or in a variable",
            f"write {{valueFrom: {{env: {name}}}}} or {{valueFrom: {{file: secrets/...}}}}. If "
            "the text was ever committed, replace the secret, because Git keeps it in the "
            "history",
        )


@mutable
class _SpecWalk:
    """One walk over a spec; `literals` collects the paths of secrets in plain text."""

    draft: Draft
    marks: SpecMarks
    literals: list[FieldPath] = field(default_factory=list)

    def split_plain_texts(self, value: Any, path: FieldPath) -> Any:
        """A copy of the value with SecretRef in place of secrets; reports misplaced `valueFrom`."""
        if value is None:
            return None
        is_secret = self.marks.is_secret(path)
        if is_secret and _is_value_from_map(value):
            return _decode_value_from(self.draft, value[VALUE_FROM], path)
        if isinstance(value, dict) and value and not self.marks.is_map_one_secret(path):
            if not is_secret and _is_value_from_map(value):
                _report_misplaced(self.draft, path)
                return None
            return {
                key: self.split_plain_texts(child, (*path, key)) for key, child in value.items()
            }
        if isinstance(value, list):
            for reference_path in _iter_value_from_paths(value, path):
                _report_misplaced(self.draft, reference_path, in_list=True)
        if not is_secret and not (self.marks.named and self.marks.has_named_field_below(path)):
            return value
        # Wrapped even in plain text, so that no view, state or log can show it.
        self.literals.append(path)
        return SecretRef("literal", literal=Sensitive(value))


def _is_value_from_map(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and VALUE_FROM in value


def _iter_value_from_paths(value: Any, path: FieldPath) -> Iterator[FieldPath]:
    if _is_value_from_map(value):
        yield path
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _iter_value_from_paths(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _iter_value_from_paths(child, (*path, index))


def _report_misplaced(draft: Draft, path: FieldPath, in_list: bool = False) -> None:
    field_name = format_field_path(("spec", *path))
    detail = f"`{field_name}` is not a secret field"
    hint = "write the value, or use a variable: ${var.NAME}"
    names = list(itertools.takewhile(lambda part: isinstance(part, str), path))
    is_free_form = names[0] in list_free_form_fields(draft.schema)
    may_be_named = is_free_form and draft.schema not in draft.context.marks.kinds
    if may_be_named:
        hint += (
            f"; if it is a secret, mark it: lifecycle: {{{SENSITIVE}: ["
            f"{format_json_pointer(tuple(names))}]}}"
        )
    if in_list:
        detail = f"`{field_name}` is inside a list, and a list is treated as one value"
        if may_be_named:
            hint += ", and give the whole list by valueFrom with format: json"
    draft.report(("spec", *path), ONLY_FOR_SECRETS, detail, hint)


def _decode_value_from(draft: Draft, source_block: Any, path: FieldPath) -> SecretRef | None:
    block_path = ("spec", *path, VALUE_FROM)
    source_block = source_block if isinstance(source_block, dict) else {}
    names = [key for key in SECRET_SOURCES if key in source_block]
    unknown_keys = [key for key in source_block if key not in {*SECRET_SOURCES, "format"}]
    format_name = source_block.get("format", "text")
    if len(names) != 1 or unknown_keys or format_name not in {"text", "json"}:
        # Known providers' schemas said this already, in more detail.
        detail = f"`{format_field_path(block_path)}` needs exactly one of {format_source_names()}"
        draft.report(block_path, "Malformed valueFrom", detail, "write {valueFrom: {env: NAME}}")
        return None
    source, source_path = SECRET_SOURCES[names[0]], (*block_path, names[0])
    ref = build_reference_or_none_if_malformed(source, source_block[source.name], format_name)
    if ref is None:
        detail = f"`{format_field_path(source_path)}` {describe_malformed(source)}"
        draft.report(source_path, "Malformed valueFrom", detail, f"write {source.example}")
        return None
    # Of a name with a variable without a value, which was reported, nothing can be said.
    if any(path[: len(source_path)] == source_path for path in draft.unknown_paths):
        return ref
    if denial := draft.context.find_denial(source, ref):
        target = draft.context.target.name if denial.names_target else None
        draft.report(source_path, denial.summary, denial.detail, denial.hint, target=target)
    return ref


def named_address(draft: Draft) -> Address | None:
    """The address KIND/NAME of `metadata.name`; None without a name."""
    name = draft.metadata.get("name")
    return Address(draft.schema, name) if isinstance(name, str) and name else None


def decode_spec(draft: Draft) -> DecodedSpec:
    """The spec's fields; one that refers to another object is a Reference, or a remote id."""
    fields = dict(draft.spec)
    for name, rule in CATALOGUE[draft.schema].rules.items():
        if rule.references and name in fields:
            fields[name] = parse_reference(rule.references, fields[name])
    return fields


def parse_reference(kind: str, value: Any) -> str | Reference:
    """A Reference to the address of a name, or the remote id of `{id: 123}` as text."""
    return declared_remote_id(value) or Reference(Address(kind, value))


def declared_remote_id(value: Any) -> str | None:
    """The remote id of `{id: 123}` as text; None for anything else."""
    # bool is an int in Python, and `{id: true}` names no object.
    raw_id = value.get("id") if isinstance(value, dict) else None
    return str(raw_id) if raw_id is not None and not isinstance(raw_id, bool) else None


PLUGIN = "plugin"
_CONFIG_FIELDS = ("name", "code", "description", "category")
_PLUGIN_KEYS = frozenset(("from", "retain"))


def decode_plugin(draft: Draft) -> DecodedSpec:
    """The plugin's fields, the missing ones taken from `from`; contradictions are reported."""
    fields = {key: value for key, value in draft.spec.items() if key not in _PLUGIN_KEYS}
    if "from" not in draft.spec:
        return fields
    source = draft.package_source("from")
    if source is None:
        draft.report_outside_path("from")
        return fields
    config = draft.context.read_config(source, draft)
    for key in _CONFIG_FIELDS:
        config_value = config.value.get(key)
        # A value of another type is a flaw of the package, reported when the package is checked.
        if config_value is None or not isinstance(config_value, str):
            continue
        if key in fields:
            report_contradiction(draft, key, config, source)
        else:
            fields[key] = config_value
            if (position := config.positions.get((key,))) is not None:
                draft.positions = {**draft.positions, ("spec", key): position}
    if config.is_missing:
        draft.context.mark_flaw_reported(source, "package:no-config")
        draft.report(
            ("spec", "from"),
            "Package without config.yaml",
            f"`from` reads the plugin's fields from a config.yaml, but {source} has none",
            "name the plugin's own folder, check that no ignore rule excludes the file, or "
            "remove `from` and write the fields here",
        )
    # Without a reader nothing is known about the package, so nothing can be missing.
    elif (
        "name" not in fields
        and not draft.is_unknown_at_or_above(("spec", "name"))
        and draft.context.read_package_config
        and not config.is_unreadable
    ):
        detail = f"neither `spec` nor the config.yaml of {source} has a `name`"
        draft.report(("spec", "from"), "Missing field", detail, "add `name:` to one of them")
    return fields


def report_contradiction(
    draft: Draft, key: str, config: SourceConfig, source: PackageSource | None
) -> None:
    """Report a field of the manifest that its package's config.yaml contradicts."""
    manifest_value, config_value = draft.spec.get(key), config.value.get(key)
    if manifest_value is None or config_value is None or manifest_value == str(config_value):
        return
    hint = "make both the same, or remove the field here"
    shown_value = credentials.format_unless_secret(config_value)
    if not isinstance(config_value, str):
        shown_value = f"{describe_value_kind(config_value)} ({shown_value})"
        hint = f"quote the value there; {hint}"
        draft.context.mark_flaw_reported(source, f"package:{key}")
    config_position = config.positions.get((key,))
    draft.report(
        ("spec", key),
        "Manifest and package disagree",
        f"`{format_field_path(('spec', key))}` is {manifest_value}, but `{key}` is {shown_value} "
        "in the package's config.yaml" + (f" ({config_position})" if config_position else ""),
        hint,
    )


RELEASE = "release"
_RELEASE_KEYS = frozenset(("source", "file", "verify"))


def release_source(draft: Draft) -> PackageSource | None:
    """Where the release's package comes from; None when absent or malformed."""
    return draft.package_source("file" if "file" in draft.spec else "source")


def find_version(draft: Draft) -> str | None:
    """The declared version, else the package's; None where it has no valid form."""
    declared = draft.spec.get("version")
    if declared is None:
        declared = draft.context.read_config(release_source(draft), draft).value.get("version")
        # It would be part of an address, which is shown everywhere.
        if credentials.contains_secret(str(declared)):
            return None
    return declared if isinstance(declared, str) and is_valid_version(declared) else None


def release_address(draft: Draft) -> Address | None:
    """`release/PLUGIN@VERSION` or `release/id=123@VERSION`; None where a part is not known."""
    plugin = draft.spec.get("plugin")
    remote_plugin_id = declared_remote_id(plugin)
    # A plugin that is referred to by its id needs no manifest, so it has no name here.
    owner = f"id={remote_plugin_id}" if remote_plugin_id else plugin
    release_version = find_version(draft)
    if not isinstance(owner, str) or not owner or release_version is None:
        return None
    return Address(RELEASE, f"{owner}@{release_version}")


def decode_release(draft: Draft) -> DecodedSpec:
    """The release's fields; `plugin` is a Reference, or the remote id as text."""
    fields = {key: value for key, value in draft.spec.items() if key not in _RELEASE_KEYS}
    fields["plugin"] = parse_reference(PLUGIN, draft.spec["plugin"])
    source = release_source(draft)
    config = draft.context.read_config(source, draft)
    _report_outside_sources(draft)
    if "version" in fields:
        report_contradiction(draft, "version", config, source)
    elif config_version := find_version(draft):
        fields["version"] = config_version
    return fields


def decode_verification(draft: Draft) -> Mapping[str, Any] | None:
    """The `verify:` block in the form in which the run is started; None without one.

    A plugin that lists actions is run in the platform's form, which names one of them. Mixing both
    forms, and an action that is not listed, are reported.
    """
    verify = draft.spec.get("verify")
    if verify is None:
        return None
    block: Mapping[str, Any] = replace_secrets(draft, {"verify": verify})["verify"]
    page_keys, platform_keys = (
        [key for key in form if key in verify] for form in (PAGE_FORM, PLATFORM_FORM)
    )
    # Which form would win depends on the server, so it must be decided in the manifest.
    if page_keys and platform_keys:
        of_platform, of_page = platform_keys[0], page_keys[0]
        detail = (
            f"`{of_platform}` is one of the platform's fields, `{of_page}` one of the API page's"
        )
        hint = f"use either {', '.join(PAGE_FORM)} or {', '.join(PLATFORM_FORM)}"
        draft.report(("spec", "verify", of_platform), "Two forms of a run", detail, hint)
        return block
    config = draft.context.read_config(release_source(draft), draft).value
    actions = list_action_names(config) or list_action_names(draft.spec.get("config"))
    action = _select_action(draft, actions) if actions else None
    if action is None:
        return block
    if draft.context.target.is_embedded and not platform_keys:
        # The page's profile shows a run's context, by which a run with a lost answer is found.
        block = {"context": {}, **block}
    return to_platform_form(block, action)


def _select_action(draft: Draft, actions: tuple[str, ...]) -> str | None:
    """The action to run; None (reported) where it is not listed, or not named among several."""
    verify = draft.spec["verify"]
    declared = verify.get("action")
    if declared in actions:
        return str(declared)
    actions_text = credentials.format_unless_secret(describe_actions(actions))
    if declared:
        path = ("spec", "verify", "action")
        detail = "`verify.action` names an action that the plugin does not list; it lists "
        draft.report(path, "No such action", detail + actions_text, "name one of them")
        return None
    if len(actions) == 1:
        return actions[0]
    first_action = credentials.format_unless_secret(describe_actions(actions[:1]))
    hint = f"add `action: {first_action}`, or another action"
    if any(name in verify for name in PAGE_FORM):
        hint += "; parameters then belong under `params`"
    detail = "a run needs `verify.action` if the plugin lists several actions; it lists "
    draft.report(("spec", "verify"), "Missing action", detail + actions_text, hint)
    return None


def _report_outside_sources(draft: Draft) -> None:
    for key in ("source", "file"):
        if draft.spec.get(key) != PUBLISHED:
            draft.report_outside_path(key)


def report_missing_version(draft: Draft) -> None:
    """Report why no version is known; a declared one that is malformed the schema has reported."""
    if draft.spec.get("version") is not None or draft.is_unknown_at_or_above(("spec", "version")):
        return
    source = release_source(draft)
    config = draft.context.read_config(source)
    if source is None or config.is_unreadable:
        _report_outside_sources(draft)
        return
    config_version = config.value.get("version")
    if config_version is None:
        is_published = source.kind == PUBLISHED
        source_text = "a published package" if is_published else f"the config.yaml of {source}"
        detail = f"`spec` has no `version`, and {source_text} gives none"
        draft.report(("spec",), "Missing version", detail, "add `version:`")
        return
    version_position = config.positions.get(("version",))
    if not isinstance(config_version, str):
        draft.context.mark_flaw_reported(source, "package:version")
    draft.report(
        ("spec",),
        "Malformed version",
        f"`version` is {describe_value_kind(config_version)} "
        f"({credentials.format_unless_secret(config_version)}) in "
        "the package's config.yaml" + (f" ({version_position})" if version_position else ""),
        "quote it, and use letters, digits, `.`, `_`, `+` and `-`, at most 64",
    )


STORAGE = "storage"


def decode_storage(draft: Draft) -> DecodedSpec:
    """The storage's fields with secrets replaced; an unknown provider is noted, for one warning."""
    if "provider" not in draft.spec:  # only an external one is declared without it
        return {"name": draft.spec["name"]}
    provider, configuration = draft.spec["provider"], draft.spec.get("configuration", {})
    described = draft.context.project.providers.get(provider)
    if described is not None:
        _report_provider_keys(draft, described)
        # A key that is not described would be treated as a secret, and reported a second time.
        known = {key: value for key, value in configuration.items() if key in described.keys}
        return replace_secrets(draft, {**draft.spec, "configuration": known})
    if provider in schemas.known_providers():
        properties = schemas.read_schema(f"providers/{provider}").get("properties", {})
        for key in configuration:
            own_key = properties.get(key, {}).get("x-read-as")
            # Both of them are an error, which leaves the second one out.
            if own_key and ("spec", "configuration", own_key) not in draft.positions:
                summary = "The platform's own tools do not read this key"
                detail = f"`{key}` is a documented key, but they read only `{own_key}`"
                hint = "if those tools need this storage, write all its keys in the platform's form"
                path = ("spec", "configuration", key)
                draft.report(path, summary, detail, hint, Severity.NOTE)
    elif not draft.is_unknown_at_or_above(("spec", "provider")):
        draft.context.drafts_by_unknown_provider.setdefault(provider, []).append(draft)
    return replace_secrets(draft, draft.spec)


def warn_of_unknown_providers(context: DecodeContext) -> None:
    """Report the unknown providers of all storages that were decoded, each at one of them."""
    for provider, drafts in sorted(context.drafts_by_unknown_provider.items()):
        block = f"providers: {{{provider}: {{keys: ...}}}}"
        hint = f"describe its keys under `{block}` of the project file"
        if near := schemas.find_similar_provider(provider, context.project.providers):
            hint = f"did you mean `{near}`? If not, {hint}"
        count = f" ({len(drafts)} storages)" if len(drafts) > 1 else ""
        # The first by its address, so that the warning is the same for any order of files.
        min(drafts, key=lambda draft: str(draft.address)).warn(
            ("spec", "provider"),
            "Unknown provider",
            f"the keys of provider `{provider}` are not known{count}: the tool checks no key and "
            "treats every value as a secret. Write each secret as {valueFrom: {env: NAME}}",
            hint,
        )


def _report_provider_keys(draft: Draft, provider: Provider) -> None:
    """Report keys that the project file's description of the provider lacks or requires."""
    configuration, name = draft.spec.get("configuration", {}), draft.spec["provider"]
    for key in [key for key in configuration if key not in provider.keys]:
        hint = draft.context.hints.suggest(key, provider.keys)
        detail = f"provider `{name}` has no key `{key}`"
        draft.report(("spec", "configuration", key), "Unknown field", detail, hint)
    missing_keys = sorted(provider.required - configuration.keys())
    if len(missing_keys) > MAX_SUGGESTIONS:
        missing_keys = [format_short_list(missing_keys)]
    for key in missing_keys:
        detail = f"provider `{name}` needs `{key}`"
        draft.report(("spec", "configuration"), "Missing field", detail, f"add {key}")
