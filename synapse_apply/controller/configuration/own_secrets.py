"""How the controller's own secrets are read: from a variable or a file, and never shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synapse_apply.controller.settings import SecretName
from synapse_apply.files.checkout import read_regular_file
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.values import Sensitive

_MAX_SECRET_BYTES = 64 * 1024


class OwnSecretReader:
    """Reads secrets by name; a file is read anew each time, so that a renewed one counts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, name: SecretName) -> Sensitive:
        """The value; SecretUnavailable for one that is not there, is empty or is no text.

        One newline at the end of a file is dropped.
        """
        if name.kind == "env":
            text = self._environ.get(name.name, "")
            reason = "" if text.strip() else "it is not set, or empty"
        else:
            text, reason = _read_secret(Path(name.name))
        if reason:
            raise SecretUnavailable.from_summary(
                "A secret of the controller is missing",
                f"{'variable' if name.kind == 'env' else 'file'} {name.name}: {reason}.",
                "Set it for the controller's process, or name another one in its configuration.",
                position=name.position,
            )
        return Sensitive(text)


def _read_secret(path: Path) -> tuple[str, str]:
    """The text of a file, and why it cannot be used ("" where it can)."""
    try:
        data = read_regular_file(path, _MAX_SECRET_BYTES)
    except OSError as problem:
        return "", problem.strerror or "it cannot be read"
    try:
        text = data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        return "", "it is not UTF-8"
    return text, "" if text.strip() else "it is empty"
