"""Which variables and files a `valueFrom` may read: one rule for the static check and the read.

A manifest of a pull request must not be able to print or send a secret of the CI job that plans
it, so what such jobs are given is never readable, whatever an allow-list says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from synapse_apply.model.frozen import frozen

# Compared with the variable's name in upper case: on Windows names have no case of their own.
FORBIDDEN_ENV = (
    "SYNAPSE_*",  # our own tokens, host, state key and state URL
    "ACTIONS_*",  # GitHub Actions: run-time, cache and OIDC tokens
    "GITHUB_TOKEN",
    "GITHUB_PAT",
    "GH_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "RUNNER_TOKEN",
    "CI_*TOKEN*",  # GitLab: job, deploy, dependency proxy, Pages ...
    "CI_*PASSWORD*",
    "CI_*JWT*",
    "CI_REPOSITORY_URL",  # holds the job token
    "GITLAB_TOKEN",
    "GITLAB_*_TOKEN",
    "SYSTEM_ACCESSTOKEN",  # Azure Pipelines
    "AZURE_*_OIDC_TOKEN",
    "BITBUCKET_*TOKEN*",
    "PIPELINES_JWT_TOKEN",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "CIRCLE_TOKEN",
    "CIRCLE_OIDC_TOKEN*",
    "DRONE_*TOKEN*",
    "DRONE_NETRC_*",
    "CI_NETRC_*",
    "JENKINS_*TOKEN*",
    "JENKINS_*SECRET*",
    "TRAVIS_*TOKEN*",
)

# Never a secret's home, listed or not: our state and its key; the credentials of a checkout; the
# login of the vendor's tools.
FORBIDDEN_FOLDERS = (".synapse-apply", ".git", ".synapse")


@frozen
class Reserved:
    """What the targets of a project take their own credentials from, which no manifest may read.

    `variables` (in upper case) and `files` (as the project file writes them) each to the setting
    that names them.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def with_those_of(self, other: Reserved) -> Reserved:
        """What either reserves."""
        return Reserved({**other.variables, **self.variables}, {**other.files, **self.files})

    def setting_of_variable(self, name: str) -> str:
        """The setting that names this variable; "" where none does."""
        return self.variables.get(name.upper(), "")

    def setting_of_file(self, path: str, root: Path) -> str:
        """The setting that names this file or what it is kept beside; "" where none does.

        By its text alone, as `file_allowed`: who reads asks again with the resolved path.
        """
        wanted = str(_plain(path, root))
        for name, setting in self.files.items():
            plain = str(_plain(name, root))
            if wanted == plain or wanted.startswith((f"{plain}.", f"{plain}-")):
                return setting
        return ""


NOTHING_RESERVED = Reserved()


def forbidden_env(name: str) -> bool:
    """Whether a variable is never readable by `valueFrom`, even when an allow-list names it."""
    upper = name.upper()
    return any(fnmatchcase(upper, pattern) for pattern in FORBIDDEN_ENV)


def env_allowed(name: str, patterns: Sequence[str]) -> bool:
    """Whether `allow_env` lets `valueFrom` read a variable.

    Patterns are `*`, `?` and `[...]`, case-sensitive. Without a pattern every variable that is
    not forbidden may be read.
    """
    if forbidden_env(name):
        return False
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def file_allowed(path: str, root: Path, allow_files: Sequence[str]) -> bool:
    """Whether `valueFrom: {file: ...}` may name this path, by its text alone.

    `path` is relative to `root` or absolute; `allow_files` are exact names of files, most of them
    outside the project, relative to `root` or absolute. Nothing is read, so links are not seen:
    who reads asks again with the resolved path.
    """
    if not path or "\0" in path:
        return False
    wanted, top = _plain(path, root), _plain(".", root)
    at_home = wanted != top and wanted.is_relative_to(top)
    below = wanted.relative_to(top) if at_home else wanted
    if any(part.lower() in FORBIDDEN_FOLDERS for part in below.parts):
        return False
    return at_home or any(wanted == _plain(name, root) for name in allow_files)


def _plain(path: str, root: Path) -> PurePath:
    return PurePath(os.path.normpath(root / path))
