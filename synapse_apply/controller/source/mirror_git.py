"""How Git is run on a source's mirror: by plumbing with fixed arguments, within time and size."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from synapse_apply.controller.ports import SourceUnavailable
from synapse_apply.controller.source.access import (
    REMOTE_NAME,
    ReadSecret,
    SourceAccess,
    SourceFolders,
    build_local_variables,
)
from synapse_apply.files.programs import (
    STOPPED_EXIT_CODE,
    TIMEOUT_EXIT_CODE,
    ProgramResult,
    build_child_environment,
    limit_command,
    require_executable,
    run_program,
)
from synapse_apply.files.repository import (
    MINIMUM_GIT,
    find_old_git_version,
    find_size_reason,
    make_bare_repository,
    safe_directory_section,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.views.sanitize import sanitize, sanitize_url

# What Git may hold, and write into one file: more than MirrorLimits.size, which has words.
_MAX_MEMORY, _MAX_FILE = 2 * 1024**3, 8 * 1024**3
_MAX_OUTPUT = 128 * 1024 * 1024
_MAX_LISTED_REFS = 16 * 1024 * 1024
_MAX_GIT_LINES = 4
_MAX_GIT_CHARACTERS = 600
_INSTALL_GIT = "Install git {}.{} or newer.".format(*MINIMUM_GIT)
# Git's pack files are the whole of a mirror: more of them make each look-up slower.
MOST_PACKS = 40


@frozen
class MirrorLimits:
    """Limits of one source's repository; times in seconds, sizes in bytes."""

    list_seconds: float = 60.0
    list_before_apply_seconds: float = 10.0
    fetch_seconds: float = 900.0
    local_seconds: float = 60.0
    size: int = 4 * 1024**3


class MirrorGit:
    """Runs Git on one mirror. Methods raise SourceUnavailable where Git cannot do it."""

    def __init__(
        self,
        access: SourceAccess,
        folders: SourceFolders,
        read_secret: ReadSecret,
        limits: MirrorLimits,
    ) -> None:
        """Nothing is made or started yet."""
        self._access = access
        self._folders = folders
        self._read_secret = read_secret
        self._limits = limits
        self._global_config = folders.mirror.with_suffix(".gitconfig")

    def make_mirror(self, object_format: str) -> None:
        """Make the mirror where there is none that can be used; OSError."""
        self._folders.create_folders()
        self._global_config.write_text(safe_directory_section(self._access.safe_directories))
        git_dir = self._folders.mirror
        is_usable = all((git_dir / name).exists() for name in ("HEAD", "config", "objects", "refs"))
        is_sha256 = is_usable and "objectFormat = sha256" in (git_dir / "config").read_text()
        if not is_usable or is_sha256 != (object_format == "sha256"):
            self.replace_by_empty_mirror(object_format)

    def replace_by_empty_mirror(self, object_format: str) -> None:
        """Remove the mirror and make an empty one; OSError."""
        shutil.rmtree(self._folders.mirror, ignore_errors=True)
        make_bare_repository(self._folders.mirror, object_format)

    def list_remote_ids_by_ref(
        self, *names: str, seconds: float | None = None
    ) -> Mapping[str, str]:
        """The commits or tags that refs of the repository name, by full ref.

        It may take so many seconds, `list_seconds` of the limits unless given.
        """
        result = self._run_remote_git(
            ("ls-remote", "--quiet", "--refs", REMOTE_NAME, *names),
            seconds or self._limits.list_seconds,
            _MAX_LISTED_REFS,
        )
        if result.exit_code:
            self.raise_source_unavailable(result)
        lines = (os.fsdecode(line).partition("\t") for line in result.output.splitlines())
        return {name: object_id for object_id, _, name in lines}

    def fetch_limited(self, refspecs: list[str]) -> ProgramResult:
        """Fetch refs with their history, every object checked; the result may be a failure."""
        options = ("--quiet", "--no-tags", "--no-write-fetch-head")
        result = self._run_remote_git(
            ("fetch", *options, "--no-recurse-submodules", REMOTE_NAME, *refspecs),
            self._limits.fetch_seconds,
            1024 * 1024,
            self._size_reason,
        )
        # It may have grown since it was looked at last.
        if result.exit_code == 0 and (reason := self._size_reason()):
            return ProgramResult(STOPPED_EXIT_CODE, b"", reason)
        return result

    def run_local_git(
        self,
        *arguments: str,
        input_bytes: bytes = b"",
        max_output: int = _MAX_OUTPUT,
        variables: Mapping[str, str] | None = None,
    ) -> ProgramResult:
        """Run a command that needs no network; its exit code may be any."""
        local = build_local_variables(self._folders.mirror, self._global_config, self._folders.home)
        environment = build_child_environment((), {**local, **(variables or {})})
        return self._run_git(
            arguments, environment, self._limits.local_seconds, max_output, input_bytes=input_bytes
        )

    def list_refs(self, *folders: str) -> Mapping[str, str]:
        """The objects that refs of the mirror name, by full ref."""
        fields = "--format=%(objectname) %(refname)"
        result = self.run_local_git("for-each-ref", fields, *folders)
        lines = result.output.decode("utf-8", "surrogateescape").splitlines()
        return {name: object_id for object_id, _, name in (line.partition(" ") for line in lines)}

    def update_refs(self, commands: Iterable[str]) -> bool:
        """Change refs of the mirror, all or none (git-update-ref(1)); whether it was done."""
        text = "".join(f"{command}\n" for command in commands).encode("utf-8", "surrogateescape")
        return (
            not text or not self.run_local_git("update-ref", "--stdin", input_bytes=text).exit_code
        )

    def commit_id(self, revision: str) -> str:
        """The id of the commit that a revision of the mirror names, "" for none."""
        result = self.run_local_git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return "" if result.exit_code else result.output.decode("ascii", "replace").strip()

    def compact_if_many_packs(self) -> None:
        """Put all packs into one, without what no ref needs; a failure is met again next time."""
        packs = list((self._folders.mirror / "objects" / "pack").glob("*.pack"))
        if len(packs) > MOST_PACKS:
            self.run_local_git("-c", "pack.threads=4", "repack", "-a", "-d", "--quiet")
            self.run_local_git("pack-refs", "--all")

    def raise_source_unavailable(self, result: ProgramResult) -> NoReturn:
        """SourceUnavailable that says what Git said."""
        source = self._access.source
        url = sanitize_url(source.url)
        if result.exit_code == TIMEOUT_EXIT_CODE:
            reason, hint = (
                f"It took too long ({result.error_text}).",
                "Check that the server is reachable.",
            )
        else:
            reason, hint = quote_git(result.error_text), _OTHER_HINT
            for pattern, meant in reversed(_HINTS):
                if re.search(pattern, result.error_text, re.IGNORECASE):
                    hint = meant
        raise SourceUnavailable.from_summary(
            "The source's repository cannot be read",
            f"{source.name}: {url}. {reason}",
            hint,
            position=source.position,
        )

    def _run_remote_git(
        self,
        arguments: tuple[str, ...],
        timeout: float,
        max_output: int,
        find_stop_reason_or_empty: Callable[[], str] = str,
    ) -> ProgramResult:
        opened = self._access.credentials_environment(
            self._folders.mirror, self._global_config, self._folders.home, self._read_secret
        )
        with opened as environment:
            result = self._run_git(
                arguments, environment, timeout, max_output, find_stop_reason_or_empty
            )
        # A server may repeat the token that it was sent.
        masked = self._access.redactor.mask_secrets_in_text(result.error_text)
        return result._replace(error_text=masked)

    def _run_git(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        timeout: float,
        max_output: int,
        find_stop_reason_or_empty: Callable[[], str] = str,
        *,
        input_bytes: bytes = b"",
    ) -> ProgramResult:
        try:
            program = require_executable("git", ())
            if version_text := find_old_git_version(program):
                raise SourceUnavailable.from_summary(
                    "Git is too old",
                    f"git {version_text} lacks features that a mirror needs.",
                    _INSTALL_GIT,
                )
            return run_program(
                limit_command((program, "--no-pager", *arguments), _MAX_MEMORY, _MAX_FILE),
                environment,
                input_bytes=input_bytes,
                timeout=timeout,
                max_output=max_output,
                find_stop_reason_or_empty=find_stop_reason_or_empty,
            )
        except OSError as problem:
            raise SourceUnavailable.from_summary(
                "Git cannot be started",
                f"The controller needs Git to mirror sources; git: {problem.strerror}.",
                _INSTALL_GIT,
            ) from None

    def _size_reason(self) -> str:
        return find_size_reason(self._folders.mirror, self._limits.size)


def quote_git(git_text: str) -> str:
    """The last lines of what Git wrote, as a sentence that holds no control character."""
    lines = [sanitize(line.strip()) for line in git_text.splitlines() if line.strip()]
    text = "; ".join(lines[-_MAX_GIT_LINES:])[:_MAX_GIT_CHARACTERS].rstrip(".")
    return f"Git says: {text}." if text else ""


_OTHER_HINT = "Check the url, the network and the source's credentials."
_HINTS = (
    (
        "redirect|error: 30[0-9]",
        "The repository has moved: set its new url. The controller follows no redirect.",
    ),
    (
        "Authentication failed|could not read Username|40[134]|Permission denied|not found",
        "Check the url, and that the source's credentials may read the repository.",
    ),
    ("Host key verification", "The server's key is not in the source's known_hosts."),
    (
        "fsck|bad object|badTree|index-pack",
        "Git rejects an object of the repository: `git fsck` in a clone shows the object.",
    ),
    (
        "larger than",
        "Check that it is the right repository. The controller keeps all of its history.",
    ),
)
