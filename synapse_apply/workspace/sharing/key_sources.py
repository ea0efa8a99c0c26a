"""Where a target's state keys are looked for, and that none of their files is one that Git takes.

In this order: variables of the environment, `state.key` of the target, a file of the user, a file
beside local states. The first one is used, the others only check what was made with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from synapse_apply.files.opening import OWN_FOLDER
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.model.secrets.secret_rules import USER_FOLDER
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.keys import (
    KEY_VARIABLE,
    DeclaredKey,
    StateKey,
    StateKeys,
    build_previous_key_path,
    create_missing_folder_of_key_file,
    create_or_read_key,
    format_key_variable_name_of_target,
    has_filled_key_variable,
    load_keys_and_restrict_files,
    replace_key_file_and_keep_previous,
)
from synapse_apply.secrets.resolve import FoundSetting
from synapse_apply.workspace.environment import find_xdg_or_home_folder_or_none
from synapse_apply.workspace.own_folder import (
    find_git_exposure_or_none_if_ignored,
    has_own_folder_or_raise_if_untrusted,
)

FindSetting = Callable[[SecretRef], FoundSetting]


def build_state_folder_path(project: Project) -> Path:
    """The folder of a project's local states."""
    return project.root / ".synapse-apply" / "state"


def build_state_key_path(project: Project, target: Target) -> Path:
    """The file of the key beside a target's local state."""
    return build_state_folder_path(project) / f"{target.name}.key"


@frozen
class KeySources:
    """The places of one target's state key; `user_folder` is the tool's in the user's settings.

    `resolve_setting_or_reason` reads a reference of the project file.
    """

    project: Project
    target: Target
    environ: Mapping[str, str]
    resolve_setting_or_reason: FindSetting
    user_folder: Path | None

    @property
    def user_key_path(self) -> Path | None:
        """The user's file for this target's key; None without a home, or an id of the project.

        The id is in its name, since several projects have a target of the same name.
        """
        if self.user_folder is None or not self.project.id:
            return None
        return self.user_folder / "keys" / f"{self.target.name}-{self.project.id}.key"

    @property
    def declared_key_path(self) -> Path | None:
        """The file that `state.key` of the target names; None where it names none."""
        key_file = self.target.state.key_file
        return self.project.root / key_file if key_file else None

    def load_trusted_keys_restricting_files_with_warnings(self) -> StateKeys:
        """The keys at hand. InputError for an unusable first key, and a file that Git would take.

        StateError for a file beside the state that is not trusted.
        """
        # Before any file is opened: a link in a checkout could name a file of the user as the key.
        has_own_folder_or_raise_if_untrusted(self.project.root)
        user_key_path = self.user_key_path
        if user_key_path is not None and user_key_path.exists():
            require_key_file_not_exposed_to_git(user_key_path)
        own_key_path = build_state_key_path(self.project, self.target)
        files = (own_key_path,) if user_key_path is None else (user_key_path, own_key_path)
        declared_key, problem = self._read_declared_key_or_warning()
        keys = load_keys_and_restrict_files(
            self.environ, *files, target=self.target.name, declared_key=declared_key
        )
        # Another place on this machine may be meant to stand in for that of the project file.
        if problem is None or keys.current_key is not None:
            return keys
        return replace(keys, warnings=(*keys.warnings, problem))

    def _read_declared_key_or_warning(self) -> tuple[DeclaredKey | None, Diagnostic | None]:
        """The key that `state.key` names, or a warning why it has no value on this machine.

        SecretUnavailable for a value that cannot be used, unless a variable has a key.
        """
        reference, path = self.target.state.key, self.declared_key_path
        if reference is None:
            return None, None
        if path is not None and path.exists():
            require_key_file_not_exposed_to_git(path)
        try:
            text, problem = self.resolve_setting_or_reason(reference)
        except SecretUnavailable:
            # What is set for this machine goes before it, so that nobody waits for a server.
            if not has_filled_key_variable(self.environ, self.target.name):
                raise
            return None, None
        if text is not None:
            return DeclaredKey(text, str(path or reference.name), path), None
        reason = problem.detail if problem is not None else f"{reference.name} is empty"
        warning = warning_finding(
            "The state key that the project file names is not at hand",
            f"targets.{self.target.name}.state.key: {reason}.",
            problem.hint if problem is not None else "",
            target=self.target.name,
        )
        return None, warning

    def make_or_read_key_file(self, path: Path) -> StateKey:
        """Make a key in a file, or read the one that is there; InputError if Git would take it."""
        own_top = self._create_own_folder_or_none_if_foreign(path)
        require_key_file_not_exposed_to_git(path, is_written=True)
        return create_or_read_key(path, own_top)

    def renew_key_in_file_keeping_old(self, path: Path) -> StateKey:
        """Replace the key in a file, and keep the old one beside it; InputError if Git takes it."""
        own_top = self._create_own_folder_or_none_if_foreign(path)
        require_key_file_not_exposed_to_git(path, is_written=True)
        return replace_key_file_and_keep_previous(path, own_top)

    def find_renewable_key_file_or_none(self, keys: StateKeys) -> Path | None:
        """The file of the key in use, or the user's without a key; None for a key of elsewhere."""
        own_key_path = build_state_key_path(self.project, self.target)
        if keys.current_key is None:
            return self.user_key_path
        paths = (self.declared_key_path, self.user_key_path, own_key_path)
        origin = keys.current_key.origin
        for path in paths:
            if path is not None and origin in (str(path), str(build_previous_key_path(path))):
                return path
        return None

    def describe_key_places(self) -> str:
        """The places as a list in a sentence."""
        names = [format_key_variable_name_of_target(self.target.name), KEY_VARIABLE]
        if (reference := self.target.state.key) is not None:
            names.append(f"targets.{self.target.name}.state.key ({reference.name})")
        names += [str(path) for path in (self.user_key_path,) if path is not None]
        return f"{', '.join(names)} and {build_state_key_path(self.project, self.target)}"

    def describe_places_to_put_key(self) -> str:
        """The variable and the user's file that a key of elsewhere is put into, in a sentence."""
        places = [format_key_variable_name_of_target(self.target.name)]
        if (user_key_path := self.user_key_path) is not None:
            places.append(f"the file {user_key_path} (mode 0600)")
        return " or ".join(places)

    def _create_own_folder_or_none_if_foreign(self, path: Path) -> Path | None:
        """Make the folder of a file of ours with its `.gitignore`; returns the tool's folder.

        None, with nothing made, for a file in a folder of the user's. InputError.
        """
        own_tops = (self.project.root / OWN_FOLDER, self.user_folder)
        own_top = next((top for top in own_tops if top and path.is_relative_to(top)), None)
        if own_top is not None:
            create_missing_folder_of_key_file(path, own_top)
        return own_top


def build_key_sources(
    project: Project,
    target: Target,
    environ: Mapping[str, str],
    resolve_setting_or_reason: FindSetting,
) -> KeySources:
    """The places of a target's state key."""
    settings_folder = find_xdg_or_home_folder_or_none(environ, "XDG_CONFIG_HOME", ".config")
    user_folder = settings_folder / USER_FOLDER if settings_folder is not None else None
    return KeySources(project, target, environ, resolve_setting_or_reason, user_folder)


def require_key_file_not_exposed_to_git(path: Path, *, is_written: bool = False) -> None:
    """InputError for a key file that Git has, or would add to a commit.

    With `is_written` also for the files that are made beside it when it is written.
    """
    paths = [path]
    if is_written:
        # The last stands for the temporary file, whose name ends with 16 random digits.
        paths += [build_previous_key_path(path), path.with_name(f".{path.name}.{'0' * 16}")]
    for name in paths:
        exposure = find_git_exposure_or_none_if_ignored(name)
        if not exposure:
            continue
        hint = Text(
            "Keep it outside of the checkout, or in a folder that .gitignore has with all of its "
            "files."
        )
        # Ignoring it now does not help: the key is in the history.
        if exposure.is_tracked:
            hint += Text(
                " Whoever can read the repository has this key: make another one with ",
                Command("state rekey"),
                ".",
            )
        raise InputError.from_summary(
            "Git would take the state key",
            f"{name} {exposure.reason}. It was not used.",
            hint,
        )
