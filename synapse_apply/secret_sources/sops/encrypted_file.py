"""What a file that sops has encrypted says without a key: its keys, its names, its own settings.

sops is never given the file's text, but the document that was checked here, written anew with the
keys that may be used: no second parser can find another server in it. Nothing is decrypted here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field
from typing import Any, NoReturn

from synapse_apply.model.diagnostic import parse_json_pointer
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import SettingsBlock
from synapse_apply.model.json_values import is_encodable_as_utf8
from synapse_apply.model.phrases import format_short_list, suggest_words
from synapse_apply.model.project import iter_references
from synapse_apply.secret_sources.source import (
    UNAVAILABLE,
    UNUSABLE,
    ReadMapping,
    raise_unavailable,
)

METADATA = "sops"
_GROUPS = "key_groups"
# What sops writes beside the keys. Any other name may be a kind of keys of a later version.
_OTHER_FIELDS = frozenset(
    {
        *("lastmodified", "mac", "version", "shamir_threshold", "mac_only_encrypted"),
        *("unencrypted_suffix", "encrypted_suffix", "unencrypted_regex", "encrypted_regex"),
    }
)
_BY_COMMENT = ("unencrypted_comment_regex", "encrypted_comment_regex")
_ENCRYPTED = re.compile(r"ENC\[AES256_GCM,data:[^\]]*\]")
_AMAZON_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]+:(key|alias)/[A-Za-z0-9_/-]+(\+.*)?")
# Written alike by sops in encrypted files.
_NEVER_ENCRYPTED = (None, "")
_NOT_ENCRYPTED_HINT = "Encrypt it: sops encrypt --in-place {name}"
_BROKEN_HINT = "Restore the file, or encrypt it again with sops."


@frozen
class SopsFile:
    """An encrypted file: `tree` is its document without metadata, `keys` all keys it names.

    `groups` are the keys' entries: the one group of a usual file, or those of which several are
    needed (`key_groups`). `other_metadata` are the remaining fields.
    """

    name: str
    tree: Mapping[str, Any]
    keys: tuple[NamedKey, ...]
    groups: tuple[Mapping[str, tuple[Mapping[str, str], ...]], ...]
    other_metadata: Mapping[str, Any]
    has_group_list: bool

    def to_json(self, sections: Collection[str]) -> bytes:
        """The file for sops, with the keys of these sections alone: JSON, which is YAML as well."""
        groups = [
            {section: entries for section, entries in group.items() if section in sections}
            for group in self.groups
        ]
        keys = {_GROUPS: groups} if self.has_group_list else groups[0]
        text = json.dumps(
            {**self.tree, METADATA: {**self.other_metadata, **keys}}, ensure_ascii=False
        )
        # YAML has no surrogate pairs, and refuses some characters that JSON allows.
        escaped = re.sub(r"[^\x20-\x7e]", lambda match: f"\\U{ord(match[0]):08x}", text)
        return escaped.encode("ascii")


def parse_sops_file(content: bytes, name: str, read_single_mapping: ReadMapping) -> SopsFile:
    """The parts of an encrypted file; SecretUnavailable for one that sops has not encrypted."""
    try:
        document, _ = read_single_mapping(content, name)
    except InputError as problem:
        finding = problem.diagnostics[0]
        line = f", line {finding.position.line}" if finding.position else ""
        reason = f"{name} cannot be read as YAML or JSON: {finding.summary}{line}"
        document = None
    if document is None:
        # Outside of the handler: a finding may quote what stands there.
        raise_unavailable(UNUSABLE, reason, "The file must have one document, as sops wrote it.")
    metadata = document.get(METADATA)
    if not isinstance(metadata, dict):
        raise_unavailable(
            UNUSABLE,
            f"{name} is not encrypted with sops: it has no `{METADATA}:` block",
            f"{_NOT_ENCRYPTED_HINT.format(name=name)}. A secret that was committed in plain "
            "text stays in the history: replace the secret.",
        )
    _require_known_fields(metadata, name)
    group_list = metadata.get(_GROUPS) or []
    sources = group_list or [metadata]
    if not isinstance(sources, list) or not all(isinstance(group, dict) for group in sources):
        _raise_broken(name, f"`{_GROUPS}` is not a list of groups")
    keys: list[NamedKey] = []
    groups = [_parse_group(group, name, keys) for group in sources]
    if group_list and any(metadata.get(section) for section in KINDS_BY_SECTION):
        _raise_broken(name, f"it has keys inside of `{_GROUPS}` and outside of it")
    for group in group_list:
        _require_known_fields(group, name)
    if not keys:
        _raise_broken(name, "it names no key")
    if not metadata.get("mac"):
        _raise_broken(name, "it has no MAC, so changes cannot be detected")
    return SopsFile(
        name,
        {key: value for key, value in document.items() if key != METADATA},
        tuple(dict.fromkeys(keys)),
        tuple(groups),
        {field: value for field, value in metadata.items() if field in _OTHER_FIELDS},
        has_group_list=bool(group_list),
    )


def require_encrypted_value(file: SopsFile, key: str) -> Any:
    """What stands encrypted at a key path; SecretUnavailable for a wrong path or plain text."""
    value = require_value_at(file.tree, key, file.name)
    if any(
        leaf not in _NEVER_ENCRYPTED and not (isinstance(leaf, str) and _ENCRYPTED.fullmatch(leaf))
        for leaf in _iter_leaves(value)
    ):
        raise_unavailable(
            UNUSABLE,
            f"{key} is in plain text in {file.name}, although the rest of the file is encrypted",
            "sops does not encrypt keys that its rules exclude, such as unencrypted_suffix. "
            "Rename the key or change the rules, encrypt the file again, and replace the secret "
            "if it was ever committed.",
        )
    return value


def require_value_at(tree: Any, key: str, name: str) -> Any:
    """The value at a key path such as `a/b/0`; SecretUnavailable where nothing stands.

    A `/` inside of a key is written `~1`, as in a JSON Pointer. Names beside the path are told,
    values never.
    """
    value = tree
    for part in parse_json_pointer(f"/{key}"):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and str(part).isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            if isinstance(value, Mapping):
                hint = suggest_words(str(part), map(str, value)) or (
                    f"The keys there are {format_short_list(value)}."
                    if value
                    else "The mapping is empty."
                )
            elif isinstance(value, list):
                hint = (
                    f"The value is a list of {len(value)} items; specify an item by its index, "
                    "starting at 0."
                )
            else:
                hint = f"The path ends before `{part}`: the value there is not a mapping."
            raise_unavailable(UNAVAILABLE, f"{name} has no {key}", hint)
    return value


def _require_known_fields(metadata: Mapping[str, Any], name: str) -> None:
    if any(metadata.get(field) for field in _BY_COMMENT):
        raise_unavailable(
            UNUSABLE,
            f"{name} is encrypted by rules in its comments, which are not supported",
            "Use encrypted_regex or a suffix instead, and encrypt the file again.",
        )
    unknown_fields = [
        str(field)
        for field, value in metadata.items()
        if value and field not in {*_OTHER_FIELDS, *_BY_COMMENT, *KINDS_BY_SECTION, _GROUPS}
    ]
    if unknown_fields:
        raise_unavailable(
            UNUSABLE,
            f"{name} names unknown kinds of keys: {format_short_list(unknown_fields)}",
            "The kinds are "
            f"{format_short_list(kind.setting for kind in KINDS_BY_SECTION.values())}. Encrypt "
            "the file with keys of these kinds.",
        )


def _parse_group(
    group: Mapping[str, Any], name: str, keys: list[NamedKey]
) -> dict[str, tuple[Mapping[str, str], ...]]:
    """The entries of one group by section; their keys are added to `keys`."""
    parsed: dict[str, tuple[Mapping[str, str], ...]] = {}
    for section, kind in KINDS_BY_SECTION.items():
        entries = group.get(section) or []
        if not isinstance(entries, list):
            _raise_broken(name, f"`{section}` is not a list of keys")
        for entry in entries:
            if not isinstance(entry, dict) or not set(entry) <= kind.fields:
                _raise_broken(name, f"a key below `{section}` has fields that sops does not write")
            texts = {field: value or "" for field, value in entry.items() if field != "context"}
            if not all(
                isinstance(text, str) and is_encodable_as_utf8(text) for text in texts.values()
            ):
                _raise_broken(name, f"a key below `{section}` has a field that is not text")
            keys.append(NamedKey(kind, kind.format_label(texts)))
        if entries:
            parsed[section] = tuple(entries)
    return parsed


def _raise_broken(name: str, reason: str) -> NoReturn:
    raise_unavailable(UNUSABLE, f"{name} is not a sops file: {reason}", _BROKEN_HINT)


def _iter_leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _iter_leaves(inner)
    else:
        yield value


# A sops file says at which servers the key that encrypts it lies (a Vault, a cloud's key service),
# so that whoever writes one could have a token sent to a server of theirs. So each key that a file
# names must be of a kind that the target lists, and at a server that it lists.

Entry = Mapping[str, str]


@frozen
class KeyKind:
    """One kind of keys.

    `setting` is its name in the project file, `section` in the metadata of a file. `fields` are
    those that an entry of a file may have, `format_label` says which key an entry is of: what the
    target's `keys` list. Without `needs_listing` there is no server, and every key may be named.
    `variables` are the variables that sops reads its credentials from, by their names below
    `setting`; "" where the setting is the one credential itself.
    """

    setting: str
    section: str
    fields: frozenset[str]
    format_label: Callable[[Entry], str]
    variables: Mapping[str, str] = field(compare=False)
    needs_listing: bool = True


KEY_KINDS = (
    KeyKind(
        "age",
        "age",
        frozenset({"recipient", "enc"}),
        lambda entry: entry.get("recipient", ""),
        {"": "SOPS_AGE_KEY"},
        needs_listing=False,
    ),
    KeyKind(
        "pgp",
        "pgp",
        frozenset({"fp", "enc", "created_at"}),
        lambda entry: entry.get("fp", ""),
        {"home": "GNUPGHOME"},
        needs_listing=False,
    ),
    KeyKind(
        "aws_kms",
        "kms",
        frozenset({"arn", "role", "context", "aws_profile", "enc", "created_at"}),
        # As sops itself writes a key that is used in a role; a profile would be read from a file.
        lambda entry: "+".join(
            entry[name] for name in ("arn", "role", "aws_profile") if entry.get(name)
        ),
        {
            "access_key_id": "AWS_ACCESS_KEY_ID",
            "secret_access_key": "AWS_SECRET_ACCESS_KEY",
            "session_token": "AWS_SESSION_TOKEN",
            "role_arn": "AWS_ROLE_ARN",
            "web_identity_token_file": "AWS_WEB_IDENTITY_TOKEN_FILE",
        },
    ),
    KeyKind(
        "gcp_kms",
        "gcp_kms",
        frozenset({"resource_id", "enc", "created_at"}),
        lambda entry: entry.get("resource_id", ""),
        {"credentials": "GOOGLE_CREDENTIALS", "access_token": "GOOGLE_OAUTH_ACCESS_TOKEN"},
    ),
    KeyKind(
        "azure_kv",
        "azure_kv",
        frozenset({"vault_url", "name", "version", "enc", "created_at"}),
        lambda entry: f"{entry.get('vault_url', '').rstrip('/')}/keys/{entry.get('name', '')}",
        {
            "tenant_id": "AZURE_TENANT_ID",
            "client_id": "AZURE_CLIENT_ID",
            "client_secret": "AZURE_CLIENT_SECRET",
            "federated_token_file": "AZURE_FEDERATED_TOKEN_FILE",
        },
    ),
    KeyKind(
        "hc_vault",
        "hc_vault",
        frozenset({"vault_address", "engine_path", "key_name", "enc", "created_at"}),
        lambda entry: (
            f"{entry.get('vault_address', '').rstrip('/')}/v1/{entry.get('engine_path', '')}"
            f"/keys/{entry.get('key_name', '')}"
        ),
        {"token": "VAULT_TOKEN"},
    ),
)
KINDS_BY_SECTION = {kind.section: kind for kind in KEY_KINDS}


@frozen
class NamedKey:
    """A key that a file names: its kind and which one of that kind."""

    kind: KeyKind
    label: str

    @property
    def server(self) -> str:
        """The URL of a server that a commit can choose; "" for those of Amazon and Google."""
        if self.kind.setting == "aws_kms" and not _AMAZON_KEY.fullmatch(self.label):
            # The region becomes a part of the server's name.
            return f"https://kms.{self.label.partition(':kms:')[2]}"
        return self.label if self.kind.setting in ("azure_kv", "hc_vault") else ""

    def __str__(self) -> str:
        return f"{self.kind.setting} {self.label}"


@frozen
class KeyCredentials:
    """What one kind's keys are used with: the variables of sops with their values.

    `variable_names` are those that the project file names; `missing_names` the ones among them
    that are not set, so that the kind is not used.
    """

    kind: KeyKind
    variable_names: tuple[str, ...]
    missing_names: tuple[str, ...]
    variables: Mapping[str, str]

    def __repr__(self) -> str:
        # The values are keys and tokens.
        return f"KeyCredentials({self.kind.setting} from {', '.join(self.variable_names)})"

    @property
    def is_usable(self) -> bool:
        """Whether the kind has credentials, and each of them is set."""
        return bool(self.variable_names) and not self.missing_names


def is_listed(key: NamedKey, settings: SettingsBlock) -> bool:
    """Whether the target's block of sops lists a key, or the kind of a key without a server."""
    if key.kind.setting not in settings:
        return False
    labels = settings[key.kind.setting].get("keys")
    if labels is None:
        return not key.kind.needs_listing
    return key.label in {str(label).rstrip("/") for label in labels}


def listed_credentials(
    settings: SettingsBlock, environ: Mapping[str, str]
) -> Iterator[KeyCredentials]:
    """The credentials of each kind that the target's block of sops lists, set or not."""
    for kind in KEY_KINDS:
        if kind.setting not in settings:
            continue
        references = {
            path.removeprefix(kind.setting).removeprefix("."): ref.name
            for path, ref in iter_references({kind.setting: settings[kind.setting]})
        }
        names = tuple(references.values())
        yield KeyCredentials(
            kind,
            names,
            tuple(name for name in names if not environ.get(name)),
            {
                kind.variables[setting]: environ[name]
                for setting, name in references.items()
                if environ.get(name)
            },
        )
