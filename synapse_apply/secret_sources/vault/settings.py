"""Where a target's Vault is, how to log in to it, and which of its secrets manifests may name.

All of it stands in the project file, never in a manifest: who writes a manifest must not choose to
which server a token goes.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from synapse_apply.model.coding.json_types import SettingsBlock
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import SecretRef

TOKEN_METHOD, JWT_METHOD = "token", "jwt"
DEFAULT_JWT_MOUNT = "jwt"

_MAX_PATH_LENGTH = 512
# Characters that a URL gives a meaning of its own, or that Vault's own paths cannot have.
_SEGMENT = re.compile(r"[A-Za-z0-9 ._~@=:,$!()-]+")


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
        return not describe_path_fault_or_empty(path) and any(
            fnmatchcase(path, pattern) for pattern in self.allowed_paths
        )

    def split_path_at_mount(self, path: str) -> VaultPath:
        """Mount and name; the mount is the longest of `mounts` that fits, else the first part."""
        known_mounts = [mount for mount in self.mounts if path.startswith(f"{mount}/")]
        mount = max(known_mounts, key=len, default=path.partition("/")[0])
        return VaultPath(mount, path[len(mount) + 1 :])


def describe_path_fault_or_empty(path: str) -> str:
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
        return "it has a character that stands in no path of a secret"
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
