"""`{valueFrom: {file: PATH}}`: which files may be read, and how one is read."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from synapse_apply.model.frozen import replace
from synapse_apply.model.packages import is_lfs_pointer
from synapse_apply.model.secrets.secret_rules import ClosedFiles, is_allowed_file
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.source import (
    FORBIDDEN,
    UNAVAILABLE,
    UNUSABLE,
    Denial,
    SecretSource,
    SourceContext,
    raise_unavailable,
)

MAX_SECRET_BYTES = 1024 * 1024


def find_file_denial(name: str, context: SourceContext, *, by_text: bool = False) -> Denial | None:
    """Why manifests may not read a file; None where they may.

    By its path's text alone, or by what the path leads to by links as well.
    """
    root, reserved = context.root.absolute(), context.reserved
    if name in reserved.opened:
        reserved = replace(reserved, families={})
    closed = ClosedFiles(reserved, root, None if by_text else context.environ)
    setting = closed.find_setting_or_empty(Path(os.path.abspath(root / name)))  # noqa: PTH100
    with suppress(OSError, RuntimeError, ValueError):
        setting = setting or closed.find_setting_or_empty((root / name).resolve())
    if setting:
        return Denial(
            "File is not allowed",
            f"valueFrom may not read `{name}`: {setting} names it, and a manifest could send it to "
            "a server",
            "keep the secret in a separate file",
            reason=f"valueFrom can never read {name}: {setting} names it",
        )
    is_allowed = is_allowed_file(name, root, context.allow_files)
    if is_allowed and not by_text:
        # A listed name inside of the project does not count here, since a pull request can replace
        # it by a link to anywhere. A listed file outside may be a link, as mounted secrets are.
        outside = [file for file in context.allow_files if not is_allowed_file(file, root, ())]
        try:
            resolved_files = [str((root / file).resolve()) for file in outside]
            real_path = str((root / name).resolve())
            is_allowed = is_allowed_file(real_path, root.resolve(), resolved_files)
        except (OSError, RuntimeError):
            is_allowed = False
    if is_allowed:
        return None
    return Denial(
        "File is not allowed",
        f"valueFrom may not read `{name}`: it is outside the project, or contains the tool's "
        "state or Git's data",
        "move it inside, or list it under allow_files in synapse-apply.yaml",
        reason=f"{name} is outside the project, or in a folder that manifests may not read",
        remedy="Move the file into the project, or list it under the target's allow_files. "
        "Manifests can never read files of .synapse-apply, .synapse and .git.",
    )


def require_allowed_path(name: str, context: SourceContext) -> Path:
    """The path of a file; SecretUnavailable where the project may not name it on this machine.

    The path has its links followed, so that none is followed later.
    """
    path, files = context.root / name, context.readable_files
    try:
        path = path.resolve()
        is_readable = files is None or files.includes(path)
    except (OSError, RuntimeError, ValueError):
        is_readable = files is None
    if not is_readable:
        raise_unavailable(
            FORBIDDEN,
            f"this project may not read the file {name} here",
            "The controller's operator lists such files in the source's may_read.files.",
        )
    return path


def _read_source_text(ref: SecretRef, context: SourceContext) -> str:
    # In a checkout it is the file on disk: there is one that Git does not have.
    if context.without_checkout and context.read_committed_file is not None:
        content = context.read_committed_file(ref.name)
        if content is not None:
            return _decode_secret(content, ref.name)
    return read_secret_text(require_allowed_path(ref.name, context), ref.name)


def read_secret_text(path: Path, name: str) -> str:
    """The text of a file without its last line break; `name` is for messages. SecretUnavailable."""
    return _decode_secret(read_limited_bytes(path, name), name)


def _decode_secret(content: bytes, name: str) -> str:
    require_secret_size(content, name)
    if is_lfs_pointer(content, len(content)):
        raise_unavailable(
            UNUSABLE,
            f"{name} is a Git LFS pointer, not the file itself",
            "Fetch the content with `git lfs pull`.",
        )
    text = None
    with suppress(UnicodeDecodeError):
        text = content.decode("utf-8-sig")
    if text is None:
        raise_unavailable(
            UNUSABLE,
            f"{name} is not UTF-8 text",
            "Write the secret as UTF-8 text; binary secrets can be base64 text.",
        )
    # Editors and `echo` add a line break, which is hardly ever part of a secret.
    if text.endswith("\r\n"):
        return text[:-2]
    return text.removesuffix("\n")


def read_limited_bytes(path: Path, name: str) -> bytes:
    """The content of a regular file of at most MAX_SECRET_BYTES; SecretUnavailable."""
    try:
        # Opening a named pipe without O_NONBLOCK would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        info = os.fstat(descriptor)
        is_file = stat.S_ISREG(info.st_mode)
        if not is_file:
            os.close(descriptor)
            content = b""
        else:
            with os.fdopen(descriptor, "rb") as file:
                # One byte more shows that the file is too large, whatever its stated size.
                content = file.read(MAX_SECRET_BYTES + 1)
                # Of the system itself, such as /proc, wherever that is mounted.
                is_file = bool(info.st_size) or not content
    except FileNotFoundError:
        raise_unavailable(
            UNAVAILABLE,
            f"the file {name} does not exist",
            "Paths are relative to the project's folder.",
        )
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "not a path"
        raise_unavailable(
            UNAVAILABLE, f"the file {name} cannot be read: {reason}", "Check its permissions."
        )
    if not is_file:
        raise_unavailable(
            UNUSABLE, f"{name} is not a file", "Use a file, not a folder or a device."
        )
    require_secret_size(content, name)
    return content


def require_secret_size(content: bytes, name: str) -> None:
    """SecretUnavailable for more than MAX_SECRET_BYTES."""
    if len(content) > MAX_SECRET_BYTES:
        raise_unavailable(
            UNUSABLE, f"{name} is larger than 1 MiB", "Check that this is the right file."
        )


FILE = SecretSource(
    name="file",
    example="{valueFrom: {file: PATH}}",
    find_denial=lambda ref, context: find_file_denial(ref.name, context, by_text=True),
    find_read_denial=lambda ref, context: find_file_denial(ref.name, context),
    read_text=_read_source_text,
    names_file=True,
)
