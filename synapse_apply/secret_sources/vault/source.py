"""`{valueFrom: {vault: {path: MOUNT/NAME, key: KEY}}}`: what may be read of a target's Vault.

The target's `vault` block says where Vault is, how to log in and which paths are allowed; without
it no secret of Vault can be read on that target, which is told where one is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import SettingsBlock
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.project import STATE_KEY
from synapse_apply.model.secrets.secret_rules import (
    ClosedFiles,
    ReservedVariables,
    is_in_forbidden_folder,
    is_loopback,
)
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.environment_variable import ENVIRONMENT_VARIABLE
from synapse_apply.secret_sources.file import read_secret_text, require_allowed_path
from synapse_apply.secret_sources.source import (
    FORBIDDEN,
    UNAVAILABLE,
    UNUSABLE,
    Denial,
    SecretSource,
    SettingFault,
    SourceContext,
    parse_secret,
    raise_unavailable,
)

if TYPE_CHECKING:
    from synapse_apply.secret_sources.vault.reader import VaultReader


SOURCE_NAME = "vault"
_HOME = "~/"
_VERSION = lazy_pattern(r"[1-9][0-9]{0,8}")
_JSON_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def find_path_denial(ref: SecretRef, context: SourceContext) -> Denial | None:
    """Why manifests may not name a secret of Vault, by its texts alone; None where they may."""
    path, version = ref.get_argument_or_empty("path"), ref.get_argument_or_empty("version")
    if fault := describe_path_fault(path):
        return Denial(
            "Malformed path",
            f"`{path}` is not a path of a secret in Vault: {fault}",
            "write MOUNT/NAME, such as kv/raw-data",
            reason=f"{path} is not a path of a secret in Vault: {fault}",
        )
    if version and not _VERSION.fullmatch(version):
        return Denial(
            "Malformed version",
            f"the value is not a version of {path}: versions start at 1",
            "write a number, or leave version out for the newest one",
            reason=f"the version of {path} is not valid",
        )
    # A target without Vault is told so where it needs the secret: the manifest may be for others.
    block = context.settings.get(SOURCE_NAME)
    settings = None if block is None else build_settings_of_valid_block(block)
    if settings is None or settings.is_path_allowed(path):
        return None
    return Denial(
        "Path is not allowed",
        f"{path} matches no pattern of vault.allow: {', '.join(settings.allowed_paths)}",
        f"add {path} to targets.{context.target}.vault.allow",
        reason=f"{path} matches no pattern of the target's vault.allow",
        remedy=f"Add {path} to the target's vault.allow in the project file.",
        names_target=True,
    )


def find_block_faults(block: SettingsBlock) -> tuple[SettingFault, ...]:
    """What is wrong with a `vault` block that fits its schema."""
    faults = []
    parts = urlsplit(block["address"])
    if parts.scheme.lower() != "https" and not is_loopback(parts.hostname or ""):
        faults.append(
            SettingFault(
                ("address",),
                "Vault without TLS",
                "secrets and tokens would be sent unencrypted: http is allowed only for a "
                "loopback address",
                "write https://",
            )
        )
    if not ("token" in block or "jwt" in block):
        faults.append(
            SettingFault(
                (),
                "Vault without a login",
                "the target does not say how to log in to Vault",
                "name a token, or the jwt of a pipeline's job: token: {env: VAULT_TOKEN}",
            )
        )
    return tuple(faults)


def _read_value_as_text(ref: SecretRef, context: SourceContext) -> str:
    """The text of a value, or the JSON of one that is no text; SecretUnavailable."""
    version = ref.get_argument_or_empty("version")
    value = (
        _reader_of(context)
        .require_value_of_key(
            ref.get_argument_or_empty("path"),
            ref.get_argument_or_empty("key"),
            int(version) if version else None,
        )
        .reveal()
    )
    if not isinstance(value, str) and ref.format != "json":
        kind = next((name for kind, name in _JSON_KINDS if isinstance(value, kind)), "null")
        raise_unavailable(
            UNUSABLE,
            f"{ref.name} is {kind}, not text",
            "Add format: json next to vault, or store the value as text in Vault.",
        )
    return value if isinstance(value, str) else json.dumps(value)


def _reader_of(context: SourceContext) -> VaultReader:
    """The reader of the target's Vault, made once a run; SecretUnavailable without settings."""
    reader: VaultReader = context.memo.get_or_make(SOURCE_NAME, lambda: _make_reader(context))
    return reader


def _make_reader(context: SourceContext) -> VaultReader:
    # Here, not above: most commands read no secret of Vault.
    from synapse_apply.secret_sources.vault.reader import VaultReader

    block = context.settings.get(SOURCE_NAME)
    if block is None or context.connect_http is None:
        raise_unavailable(
            UNAVAILABLE,
            "this target has no Vault",
            "Add it to the project file: targets.NAME.vault with address, token or jwt, and allow.",
        )
    settings = build_settings_of_valid_block(block)
    ca_file = str(require_allowed_path(settings.ca_file, context)) if settings.ca_file else ""
    connection = context.connect_http(settings.origin, ca_file)
    # Called in the reverse order: the reader gives its token back over this connection first.
    context.memo.register_call_at_close(connection.close)
    reader = VaultReader(
        settings, connection.send_request, lambda ref: _read_credential(ref, context)
    )
    context.memo.register_call_at_close(reader.close)
    return reader


def _read_credential(ref: SecretRef, context: SourceContext) -> Sensitive:
    """The token or JWT that the project file names; SecretUnavailable."""
    if ref.source == ENVIRONMENT_VARIABLE.name:
        text = ENVIRONMENT_VARIABLE.read_text(ref, context)
    else:
        home = context.environ.get("HOME", "")
        is_in_home = ref.name.startswith(_HOME) and bool(home)
        name = str(Path(home) / ref.name.removeprefix(_HOME)) if is_in_home else ref.name
        path = require_allowed_path(name, context)
        files = context.reserved.files.items()
        state_keys = {file: setting for file, setting in files if setting.endswith(STATE_KEY)}
        closed = ClosedFiles(ReservedVariables(files=state_keys), context.root, context.environ)
        if is_in_forbidden_folder(str(path)) or closed.find_setting_or_empty(path):
            raise_unavailable(
                FORBIDDEN,
                f"{ref.name} is a state key or a file of this tool, which is never sent to a "
                "server",
                "Specify a Vault token.",
            )
        text = read_secret_text(path, ref.name)
    return parse_secret(text, "text", ref.name)


def _may_be_same_secret(reserved: SecretRef, ref: SecretRef) -> bool:
    """Whether both name the same key of one path: in any version, and whatever the mount begins at.

    The settings of a target say where a mount and a namespace end, and the API adds `data`.
    """
    if reserved.get_argument_or_empty("key") != ref.get_argument_or_empty("key"):
        return False
    paths = (each.get_argument_or_empty("path").split("/") for each in (reserved, ref))
    one, other = ([part for part in reversed(path) if part != "data"] for path in paths)
    return all(mine == its for mine, its in zip(one, other, strict=False))


def _describe_login(context: SourceContext) -> str:
    check = _reader_of(context).log_in_and_check_token()
    lasting, seconds = "", check.remaining_seconds
    if seconds:
        hours = f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
        lasting = f", for {f'{seconds} s' if seconds < 120 else hours}"
    address = context.settings[SOURCE_NAME]["address"].rstrip("/")
    return f"{address} accepts {check.login}{lasting} ({check.seconds * 1000:.0f} ms)"


def _format_name(texts: Mapping[str, str]) -> str:
    version = f" (version {texts['version']})" if texts.get("version") else ""
    return f"{texts['path']} {texts['key']}{version}"


VAULT = SecretSource(
    name=SOURCE_NAME,
    example="{valueFrom: {vault: {path: kv/raw-data, key: secret}}}",
    find_denial=find_path_denial,
    read_text=_read_value_as_text,
    required_keys=("path", "key"),
    optional_keys=("version",),
    format_name=_format_name,
    list_setting_offers=lambda context: _reader_of(context).list_login_offers(),
    ask_for_access=_describe_login,
    find_faults=find_block_faults,
    may_share_value=_may_be_same_secret,
)


# All of it stands in the project file, never in a manifest: who writes a manifest must not choose
# to which server a token goes.

TOKEN_METHOD, JWT_METHOD = "token", "jwt"
DEFAULT_JWT_MOUNT = "jwt"

_MAX_PATH_LENGTH = 512
# Characters that a URL gives a meaning of its own, or that Vault's own paths cannot have.
_SEGMENT = lazy_pattern(r"[A-Za-z0-9 ._~@=:,$!()-]+")


@frozen
class VaultLogin:
    """One way to log in: with a token (`method` token), or with a JWT that gets one (`method` jwt).

    `credential` says where the token or the JWT is read. A JWT is sent to `auth/MOUNT/login` for
    `role`.
    """

    method: str
    credential: SecretRef
    role: str = ""
    mount: str = ""

    def __str__(self) -> str:
        if self.method == JWT_METHOD:
            return f"role {self.role} (JWT of {self.credential.name}, auth/{self.mount})"
        return f"the token of {self.credential.name}"


@frozen
class VaultPath:
    """A secret of a KV engine: the path that the engine is mounted at, and the secret's below."""

    mount: str
    name: str

    def __str__(self) -> str:
        return f"{self.mount}/{self.name}"


@frozen
class VaultSettings:
    """The Vault of one target. `logins` are in the order in which a credential is looked for.

    `allowed_paths` are patterns of what manifests may name (`kv/raw-data`, `kv/team/*`); `mounts`
    the mounts whose path has a slash in it. `ca_file` is relative to the project's folder, "" for
    the usual certificate authorities.
    """

    address: str
    logins: tuple[VaultLogin, ...]
    allowed_paths: tuple[str, ...]
    namespace: str = ""
    ca_file: str = ""
    mounts: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Scheme, host and port of the address: nothing is sent to any other."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path_prefix(self) -> str:
        """The path of the address, under which a web server serves this Vault; "" for none."""
        return urlsplit(self.address).path.rstrip("/")

    def is_path_allowed(self, path: str) -> bool:
        """Whether manifests may name this path; `*` of a pattern stands for any text, slashes too.

        Patterns are case-sensitive, as Vault's paths are.
        """
        return not describe_path_fault(path) and any(
            fnmatchcase(path, pattern) for pattern in self.allowed_paths
        )

    def split_path_at_mount(self, path: str) -> VaultPath:
        """Mount and name; the mount is the longest of `mounts` that fits, else the first part."""
        known_mounts = [mount for mount in self.mounts if path.startswith(f"{mount}/")]
        mount = max(known_mounts, key=len, default=path.partition("/")[0])
        return VaultPath(mount, path[len(mount) + 1 :])


def describe_path_fault(path: str) -> str:
    """Why a text is not MOUNT/NAME of a secret, as a phrase; "" if it is."""
    if len(path) > _MAX_PATH_LENGTH:
        return f"it has more than {_MAX_PATH_LENGTH} characters"
    parts = path.split("/")
    if len(parts) < 2:
        return "it has no slash: the first part is the mount of the KV engine"
    # A dot segment would be resolved on the way, and so lead to another path than was allowed.
    if any(part in {"", ".", ".."} for part in parts):
        return "a part of it is empty, `.` or `..`"
    if not all(_SEGMENT.fullmatch(part) for part in parts):
        return "it has a character that the path of a secret cannot have"
    return ""


def build_settings_of_valid_block(block: SettingsBlock) -> VaultSettings:
    """The settings of a target's `vault` block, which fits its schema."""
    logins = []
    if token := block.get("token"):
        source, name = next(iter(token.items()))
        logins.append(VaultLogin(TOKEN_METHOD, SecretRef(source, name)))
    if jwt := block.get("jwt"):
        credential = SecretRef("env", jwt["token"]["env"])
        mount = jwt.get("mount", DEFAULT_JWT_MOUNT).strip("/")
        logins.append(VaultLogin(JWT_METHOD, credential, jwt["role"], mount))
    return VaultSettings(
        address=block["address"].rstrip("/"),
        logins=tuple(logins),
        allowed_paths=tuple(block["allow"]),
        namespace=block.get("namespace", "").strip("/"),
        ca_file=block.get("ca_file", ""),
        mounts=tuple(mount.strip("/") for mount in block.get("mounts", ())),
    )
