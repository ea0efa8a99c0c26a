"""Which state keys are used: of environment variables, of the project file, then of files."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from synapse_apply.files import opening
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.secret_rules import KEY_VARIABLE
from synapse_apply.model.values import Sensitive

KEY_BYTES = 32

# Replaced by `_` in the name of a target's variable: PROD_EU for prod-eu.
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]")

_ID_DOMAIN = b"synapse-apply state key id 1\0"
_ADVICE = "Create a key with: openssl rand -base64 32"


class StateKey:
    """The key of all keyed digests; its repr shows only its id, which does not reveal the key.

    `key_id` is 16 hex digits of a hash; `origin` the variable or file that the key is from.
    """

    __slots__ = ("_data", "key_id", "origin")

    def __init__(self, data: bytes, origin: str) -> None:
        self._data = data
        # With a domain of its own: the id must not be a digest that anything else is checked by.
        self.key_id = hashlib.sha256(_ID_DOMAIN + data).hexdigest()[:16]
        self.origin = origin

    def reveal(self) -> bytes:
        """The bytes of the key, for `macs`, `signatures` and copies of its file only."""
        return self._data

    def __repr__(self) -> str:
        return f"StateKey({self.key_id} from {self.origin})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StateKey) and self.key_id == other.key_id

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __reduce__(self) -> Any:
        # pickle and copy would spread the key.
        raise TypeError("a state key is never serialised")


@frozen
class StateKeys:
    """The available keys: digests are made with the first one and can be checked with all."""

    all_keys: tuple[StateKey, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def current_key(self) -> StateKey | None:
        return self.all_keys[0] if self.all_keys else None


class DeclaredKey(NamedTuple):
    """The key that the project file names; `origin` is its variable or path, `file` that path."""

    text: Sensitive
    origin: str
    file: Path | None = None


def key_variable_of(target: str) -> str:
    """The name of the variable with one target's key, which takes precedence over KEY_VARIABLE."""
    return f"{KEY_VARIABLE}_{_NOT_IN_NAMES.sub('_', target.upper())}"


def has_filled_key_variable(environ: Mapping[str, str], target: str) -> bool:
    """Whether a variable with a key for this target is set and not empty."""
    return any(environ.get(name) for name in (key_variable_of(target), KEY_VARIABLE))


def build_previous_key_path(path: Path) -> Path:
    """The file of the key before the one in this file, which can still check old digests."""
    return path.with_name(path.name + ".previous")


def load_keys_and_restrict_files(
    environ: Mapping[str, str],
    *files: Path,
    target: str = "",
    declared_key: DeclaredKey | None = None,
) -> StateKeys:
    """The keys of one target: of the variables, then the declared one, then those of the files.

    Beside each file that with the key before it is read, too; these come last. Permissions of
    others on one of `files` are removed, with a warning. InputError if the first key is unusable;
    an unusable file of a further key only gives a warning.
    """
    keys: list[StateKey] = []
    warnings: list[Diagnostic] = []
    variables = (key_variable_of(target), KEY_VARIABLE) if target else (KEY_VARIABLE,)
    keys += [_parse_key(environ[name], name) for name in variables if environ.get(name)]
    key_files = list(files)
    if declared_key is not None:
        try:
            keys.append(_parse_key(str(declared_key.text.reveal()), declared_key.origin))
        except InputError as unusable:
            if not keys:
                raise
            warnings += [_unusable_key_file_warning(finding) for finding in unusable.diagnostics]
        key_files += [declared_key.file] if declared_key.file is not None else []
    # The keys before come last, whatever file they are of: they only check what was written once.
    for file in (*files, *map(build_previous_key_path, key_files)):
        if not _key_file_exists(file):
            continue
        try:
            warnings += _restrict_permissions(file)
            keys.append(read_key_file(file))
        except InputError as unusable:
            if file in files and not keys:
                raise
            warnings += [_unusable_key_file_warning(finding) for finding in unusable.diagnostics]
    # The same key may be in a variable and in a file.
    return StateKeys(tuple(dict.fromkeys(keys)), tuple(warnings))


def _unusable_key_file_warning(finding: Diagnostic) -> Diagnostic:
    """The warning for a key file that is unusable while another key is in use."""
    return warning_finding(
        "A state key file cannot be used",
        f"{finding.summary}: {finding.detail.rstrip('.')}. The tool does not check secrets that "
        "this key digested.",
        "Restore the file. If no such secrets are left, remove it.",
    )


def make_key_folder(path: Path, own_top: Path | None = None) -> None:
    """Create the folder of a key file, with a `.gitignore`; InputError if it cannot be."""
    with _accessing(path, "written"):
        opening.make_own_folders(path.parent, own_top)


def create_or_read_key(
    path: Path, own_top: Path | None = None, copied: StateKey | None = None
) -> StateKey:
    """Create a random key in a file with mode 0600; returns an existing file's key instead.

    With `copied` that key is written, instead of a random one.

    The file is created atomically: written under another name and then linked, so that of two
    processes the first one's key counts. Its folder is made by `make_key_folder`,
    which takes `own_top`. InputError if it cannot be written.
    """
    data = copied.reveal() if copied is not None else secrets.token_bytes(KEY_BYTES)
    text = base64.b64encode(data).decode() + "\n"
    temporary_path = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    make_key_folder(path, own_top)
    with _accessing(path, "written"), suppress(FileExistsError):
        _write_new_file(temporary_path, text)
        try:
            # A link never replaces a file, as a rename would: the first process's key stays.
            opening.link_own_file_to_sibling(path, temporary_path.name)
        except FileExistsError:
            pass
        except OSError:
            _write_new_file(path, text)  # a file system without hard links
        finally:
            opening.remove_own_file(temporary_path)
    return read_key_file(path)


def replace_key_file(path: Path, own_top: Path | None = None) -> StateKey:
    """Write a new key into a file, as `create_or_read_key`; the old one is kept beside it."""
    make_key_folder(path, own_top)
    if _key_file_exists(path):
        # First kept, then replaced: at worst there is no key, and the old one beside it.
        opening.replace_own_file(build_previous_key_path(path), path.name)
    return create_or_read_key(path, own_top)


@contextmanager
def _accessing(path: Path, verb: str) -> Iterator[None]:
    """InputError for a key file that cannot be read or written, as `verb` says."""
    try:
        yield
    except OSError as problem:
        advice = "Check the file's permissions" if verb == "read" else "Make the folder writable"
        raise InputError.from_summary(
            f"State key cannot be {verb}",
            f"{path}: {problem.strerror}",
            f"{advice}, or set {KEY_VARIABLE}.",
        ) from None


def _write_new_file(path: Path, text: str) -> None:
    descriptor = opening.open_own_file_with_flags(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _key_file_exists(path: Path) -> bool:
    """Whether the file exists; InputError if that cannot be determined."""
    with _accessing(path, "read"):
        return opening.stat_own_file_or_none(path) is not None


def _restrict_permissions(path: Path) -> list[Diagnostic]:
    """Set a key file that others may read to mode 0600; [] if nothing was to be done.

    InputError for a file that is not ours, or that has a second name, under which it may be used
    for something else.
    """
    try:
        descriptor = opening.open_own_file_with_flags(path, os.O_RDONLY)
        try:
            info = os.fstat(descriptor)
            # The mode is read of the open file: the name may mean another one by now.
            if not info.st_mode & 0o077:
                return []
            if os.geteuid() not in (info.st_uid, 0) or info.st_nlink > 1:
                raise InputError.from_summary(
                    "State key readable by others",
                    f"{path}: the tool does not change its permissions, because "
                    + (
                        "the file has a second name."
                        if info.st_nlink > 1
                        else "the file is not yours."
                    ),
                    f"chmod 600 {path}",
                )
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise InputError.from_summary(
            "State key readable by others", f"{path}: {problem.strerror}", f"chmod 600 {path}"
        ) from None
    return [
        warning_finding(
            "State key was readable by others",
            f"{path} had wide permissions. The tool set them to 0600.",
            Text("If others use this machine, create a new key and run: ", Command("state rekey")),
        )
    ]


def read_key_file(path: Path) -> StateKey:
    """The key in a file; InputError for one that cannot be read, or is no key."""
    with _accessing(path, "read"):
        text = opening.read_start_of_own_file(path).decode("ascii", "replace")
    return _parse_key(text, str(path))


def _parse_key(text: str, origin: str) -> StateKey:
    # In the standard or URL-safe alphabet, with or without padding.
    plain = re.sub(r"\s", "", text).translate(str.maketrans("-_", "+/")).rstrip("=")
    data = None
    with suppress(ValueError):  # a binascii.Error is one
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    if data is None:
        raise InputError.from_summary("State key is not base64", f"The key in {origin}.", _ADVICE)
    # A key shorter than the hash weakens HMAC (RFC 2104, 3).
    if len(data) < KEY_BYTES:
        raise InputError.from_summary(
            "State key is too short",
            f"The key in {origin} has {len(data)} bytes; the key needs at least {KEY_BYTES}.",
            _ADVICE,
        )
    return StateKey(data, origin)
