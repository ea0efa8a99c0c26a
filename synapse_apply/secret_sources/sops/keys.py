"""Which kinds of keys a sops file may name, and which of them a target lists and has at hand.

A sops file says at which servers the key that encrypts it lies (a Vault, a cloud's key service), so
that whoever writes one could have a token sent to a server of theirs. So each key that a file names
must be of a kind that the target lists, and at a server that it lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field

from synapse_apply.model.coding.json_types import SettingsBlock
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import iter_env_and_file_references

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


def _format_arn_and_role(entry: Entry) -> str:
    """As sops itself writes a key that is used in a role; a profile would be read from a file."""
    parts = (entry.get("arn", ""), entry.get("role", ""), entry.get("aws_profile", ""))
    return "+".join(part for part in parts if part)


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
        _format_arn_and_role,
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


def is_key_or_its_serverless_kind_listed(key: NamedKey, settings: SettingsBlock) -> bool:
    """Whether the target's block of sops lists a key, or the kind of a key without a server."""
    if key.kind.setting not in settings:
        return False
    labels = settings[key.kind.setting].get("keys")
    if labels is None:
        return not key.kind.needs_listing
    return key.label in {str(label).rstrip("/") for label in labels}


def iter_credentials_of_listed_kinds(
    settings: SettingsBlock, environ: Mapping[str, str]
) -> Iterator[KeyCredentials]:
    """The credentials of each kind that the target's block of sops lists, set or not."""
    for kind in KEY_KINDS:
        if kind.setting not in settings:
            continue
        references = {
            path.removeprefix(kind.setting).removeprefix("."): ref.name
            for path, ref in iter_env_and_file_references({kind.setting: settings[kind.setting]})
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
