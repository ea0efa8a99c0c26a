"""Where a target's state keys are looked for and made, and what is told of one that is missing.

They are looked for in this order: variables of the environment, `state.key` of the target, a file
of the user, a file beside local states. The first one is used, the others only check what was made
with them. None of their files may be one that Git takes.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from synapse_apply.files.opening import OWN_FOLDER
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_rules import KEY_VARIABLE, USER_FOLDER
from synapse_apply.model.state import State
from synapse_apply.model.values import Mac, SecretRef, flatten
from synapse_apply.secrets.keys import (
    DeclaredKey,
    StateKey,
    StateKeys,
    build_previous_key_path,
    create_or_read_key,
    has_filled_key_variable,
    key_variable_of,
    load_keys_and_restrict_files,
    make_key_folder,
    read_key_file,
    replace_key_file,
)
from synapse_apply.secrets.resolve import FoundSetting
from synapse_apply.workspace import state_project
from synapse_apply.workspace.environment import user_folder_of
from synapse_apply.workspace.own_folder import find_git_exposure, has_own_folder

if TYPE_CHECKING:
    from synapse_apply.workspace.target_session import TargetSession

FindSetting = Callable[[SecretRef], FoundSetting]


def state_folder(project: Project) -> Path:
    """The folder of a project's local states."""
    return project.root / ".synapse-apply" / "state"


def key_path_beside_state(project: Project, target: Target) -> Path:
    """The file of the key beside a target's local state."""
    return state_folder(project) / f"{target.name}.key"


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

    def load_keys(self) -> StateKeys:
        """The keys at hand. InputError for an unusable first key, and a file that Git would take.

        StateError for a file beside the state that is not trusted.
        """
        # Before any file is opened: a link in a checkout could name a file of the user as the key.
        has_own_folder(self.project.root)
        user_key_path = self.user_key_path
        require_hidden_files(user_key_path)
        own_key_path = key_path_beside_state(self.project, self.target)
        files = (own_key_path,) if user_key_path is None else (user_key_path, own_key_path)
        declared_key, problem = self._read_declared_key()
        keys = load_keys_and_restrict_files(
            self.environ, *files, target=self.target.name, declared_key=declared_key
        )
        # Another place on this machine may be meant to stand in for that of the project file.
        if problem is None or keys.current_key is not None:
            return keys
        return replace(keys, warnings=(*keys.warnings, problem))

    def _read_declared_key(self) -> tuple[DeclaredKey | None, Diagnostic | None]:
        """The key that `state.key` names, or a warning why it has no value on this machine.

        SecretUnavailable for a value that cannot be used, unless a variable has a key.
        """
        reference, path = self.target.state.key, self.declared_key_path
        if reference is None:
            return None, None
        require_hidden_files(path)
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
        return None, warning_finding(
            "The state key that the project file names is missing",
            f"targets.{self.target.name}.state.key: {reason}.",
            problem.hint if problem is not None else "",
            target=self.target.name,
        )

    def make_or_read_key_file(self, path: Path) -> StateKey:
        """Make a key in a file, or read the one that is there; InputError if Git would take it."""
        return create_or_read_key(path, self._make_own_folder(path))

    def place_key(self, key: StateKey) -> Path:
        """Write a key to the user's file for this target; InputError for a file with another."""
        path = self.user_key_path
        written = path and create_or_read_key(path, self._make_own_folder(path), key)
        if path is not None and written == key:
            return path
        where = f"{path} has another key." if path else "There is no home folder, or no project id."
        raise InputError.from_summary(
            "The key cannot be put into your configuration folder",
            f"{where} Nothing was written.",
            Text(
                "The tool needs a home folder, and `project.id` in the project file: ",
                Command("state rebind", target=self.target.name),
                ". Or move the other key away.",
            ),
        )

    def renew_key_in_file_keeping_old(self, path: Path) -> StateKey:
        """Replace the key in a file, and keep the old one beside it; InputError if Git takes it."""
        return replace_key_file(path, self._make_own_folder(path))

    def _make_own_folder(self, path: Path) -> Path | None:
        """Make the folder of a file of ours with its `.gitignore`; returns the tool's folder.

        None, with nothing made, for a file in a folder of the user's. InputError if Git would take
        the file.
        """
        own_tops = (self.project.root / OWN_FOLDER, self.user_folder)
        own_top = next((top for top in own_tops if top and path.is_relative_to(top)), None)
        if own_top is not None:
            make_key_folder(path, own_top)
        require_hidden_key_file(path, is_written=True)
        return own_top

    def find_renewable_file(self, keys: StateKeys) -> Path | None:
        """The file of the key in use, or the user's without a key; None for a key of elsewhere."""
        own_key_path = key_path_beside_state(self.project, self.target)
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
        names = [key_variable_of(self.target.name), KEY_VARIABLE]
        if (reference := self.target.state.key) is not None:
            names.append(f"targets.{self.target.name}.state.key ({reference.name})")
        names += [str(path) for path in (self.user_key_path,) if path is not None]
        return f"{', '.join(names)} and {key_path_beside_state(self.project, self.target)}"

    def describe_places_to_put_key(self) -> str:
        """The variable and the user's file that a key of elsewhere is put into, in a sentence."""
        places = [key_variable_of(self.target.name)]
        if (user_key_path := self.user_key_path) is not None:
            places.append(f"the file {user_key_path} (mode 0600)")
        return " or ".join(places)


def build_key_sources(
    project: Project,
    target: Target,
    environ: Mapping[str, str],
    resolve_setting_or_reason: FindSetting,
) -> KeySources:
    """The places of a target's state key."""
    settings_folder = user_folder_of(environ, "XDG_CONFIG_HOME", ".config")
    user_folder = settings_folder / USER_FOLDER if settings_folder is not None else None
    return KeySources(project, target, environ, resolve_setting_or_reason, user_folder)


def require_hidden_files(path: Path | None) -> None:
    """InputError if Git has the key file of a path, or that of the key before it beside it."""
    for file in () if path is None else (path, build_previous_key_path(path)):
        if os.path.lexists(file):
            require_hidden_key_file(file)


def require_hidden_key_file(path: Path, *, is_written: bool = False) -> None:
    """InputError for a key file that Git has, or would add to a commit.

    With `is_written` also for the files that are made beside it when it is written.
    """
    paths = [path]
    if is_written:
        # The last stands for the temporary file, whose name ends with 16 random digits.
        paths += [build_previous_key_path(path), path.with_name(f".{path.name}.{'0' * 16}")]
    if (exposure := find_git_exposure(*paths)) is None:
        return
    hint = Text(
        "Keep the key outside the checkout, or in a folder that .gitignore ignores with all "
        "its files."
    )
    # Ignoring it now does not help: the key is in the history.
    if exposure.is_tracked:
        hint += Text(
            " Anyone who can read the repository has this key. Create a different key with ",
            Command("state rekey"),
            ".",
        )
    detail = f"{exposure.path} {exposure.reason}. It was not used."
    raise InputError.from_summary("Git would take the state key", detail, hint)


def missing_key_findings(
    keys: StateKeys, sources: KeySources, desired: Mapping[Address, Desired], shared_key_id: str
) -> tuple[Diagnostic, ...]:
    """The keys' own warnings, one where a key is needed and missing, an error for a wrong one.

    `shared_key_id` is that of the key a shared state is bound to, "" for all other states.
    """
    project, target = sources.project, sources.target
    findings = list(keys.warnings)
    if shared_key_id:
        findings += shared_key_findings(keys, sources, shared_key_id)
    elif keys.current_key is None and declares_any_secret(desired):
        findings.append(build_no_key_warning(project, target))
    # Another target may require releases that are verified in this one.
    is_required = any(target.name in other.require_verified for other in project.targets.values())
    is_verified = any(resource.verify is not None for resource in desired.values())
    if keys.current_key is None and is_required and is_verified:
        findings.append(
            warning_finding(
                "There is no state key: the results of runs are not signed",
                f"Neither {key_variable_of(target.name)}, {KEY_VARIABLE} nor "
                f"{key_path_beside_state(project, target)} contains a key. Targets that "
                f"require_verified {target.name} do not accept a run without a signature.",
                Text(
                    "Restore the key, or create one where all runs can read it: openssl rand "
                    "-base64 32. For earlier verifications: ",
                    Command("verify"),
                    ".",
                ),
                target=target.name,
            )
        )
    return tuple(findings)


def shared_key_findings(
    keys: StateKeys, sources: KeySources, shared_key_id: str
) -> tuple[Diagnostic, ...]:
    """A warning without a key, an error for another one than that of a shared state."""
    target, current_key = sources.target, keys.current_key
    if current_key is not None and current_key.key_id == shared_key_id:
        return ()
    hint = Text(
        "Get the key from a person who has it, and put it into "
        f"{sources.describe_places_to_put_key()}. If the key is lost: ",
        Command("state rekey"),
        " changes the key. Machines with the former key are then refused until they have the "
        "new key.",
    )
    if current_key is None:
        return (
            warning_finding(
                "The key for this shared state is missing",
                f"The state of target {target.name} has key {shared_key_id}, and there is no "
                f"key in {sources.describe_key_places()}. Secrets are not compared, and "
                "signatures cannot be checked.",
                hint,
                target=target.name,
            ),
        )
    return (
        error_finding(
            "The state has a different key",
            f"The state of target {target.name} has key {shared_key_id}, but the key in use is "
            f"{current_key.key_id} from {current_key.origin}. With this key, no secret could be "
            "compared, and nobody else could check signatures.",
            hint,
            position=target.position,
        ),
    )


def build_no_key_warning(project: Project, target: Target) -> Diagnostic:
    """The warning that there are secrets and no key to digest them."""
    return warning_finding(
        "There is no state key: secrets are not compared",
        f"Neither {KEY_VARIABLE} nor {key_path_beside_state(project, target)} contains the key "
        "that digested this state's secrets.",
        Text(
            "Restore the key. If it is lost: ",
            Command("state rekey"),
            " computes new digests of the secrets that can be resolved.",
        ),
        target=target.name,
    )


def key_ids_of_digests(state: State) -> set[str]:
    """The ids of the keys that the digests of a state were made with."""
    return {
        value.key_id
        for record in state.records.values()
        for value in (*record.applied.values(), *record.seen.values())
        if isinstance(value, Mac) and value.digest != Mac.UNSEEN
    }


def declares_any_secret(desired: Mapping[Address, Desired]) -> bool:
    """Whether a secret is declared."""
    specs = (resource.spec for resource in desired.values())
    return any(isinstance(value, SecretRef) for spec in specs for value in flatten(spec).values())


@frozen
class SharedKey:
    """The key of a new shared state, and the project that it is bound to.

    `key_file` is the file in which it was made, None where there was a key.
    `is_found_by_commands`: commands on this machine find the key without being told where it is.
    """

    project_id: state_project.ProjectId
    key: StateKey | None
    key_file: Path | None
    is_found_by_commands: bool


def find_or_make_shared_key(
    session: TargetSession, hint: Text, key_file: Path | None = None
) -> SharedKey:
    """The key at hand, or a new one, in `key_file` or at a terminal in the user's folder.

    The session uses it from now on. At a terminal the project gets an id, if its file has none:
    what a pipeline wrote there would be gone with its checkout. InputError, with the hint, where
    there is neither a key nor a place for one.
    """
    project_id = state_project.project_id_of(session.project)
    if project_id.is_new and not session.invocation.on_terminal:
        project_id = state_project.NO_PROJECT_ID
    new_key_path = _choose_new_key_path(session, project_id, key_file, hint)
    # First the id, which is part of the key's file name.
    if project_id.is_new:
        state_project.write_project_id(session.project, project_id.text)
        session.project = replace(session.project, id=project_id.text)
        if session.invocation.project_memory is not None:
            session.invocation.project_memory.forget_projects()
    made_key = (
        session.key_sources.make_or_read_key_file(new_key_path)
        if new_key_path is not None
        else None
    )
    found_key = session.reload_state_keys().current_key
    key = made_key or found_key
    # Also where no command finds it by itself: what is written must be signed with the key that
    # the state is bound to.
    if made_key is not None and made_key != found_key:
        session.use_key(made_key)
    return SharedKey(project_id, key, new_key_path, is_found_by_commands=found_key == key)


@frozen
class KeyInUse:
    """The state key of a target, and the ids of the keys that its state was made with.

    A local state without digests names none. `other_keys` can only check.
    """

    target: str
    key: StateKey
    other_keys: tuple[StateKey, ...]
    state_key_ids: tuple[str, ...]

    @classmethod
    def of_session(cls, session: TargetSession, key_file: Path | None = None) -> KeyInUse:
        """The key in use, or the one in a file; InputError without one."""
        keys, name = session.reload_state_keys(), session.target.name
        key = read_key_file(key_file) if key_file is not None else keys.current_key
        if key is None:
            raise InputError.from_summary(
                "There is no state key",
                f"Target {name} has none in {session.key_sources.describe_key_places()}.",
                Text("With the file of another machine: ", Command("state key copy FILE"), "."),
            )
        used_ids: set[str] = set()
        if session.store.exists():
            shared_ids = session.read_shared_ids()
            used_ids = {shared_ids.key_id} if shared_ids is not None else set()
            # The state of one machine names no key, so the digests tell.
            used_ids = used_ids or key_ids_of_digests(session.store.read_state())
        others = tuple(one for one in keys.all_keys if one != key)
        return cls(name, key, others, tuple(sorted(filter(None, used_ids))))

    @property
    def is_of_another_state(self) -> bool:
        """Whether the state was made with other keys."""
        return bool(self.state_key_ids) and self.key.key_id not in self.state_key_ids

    @property
    def ci_commands(self) -> list[str]:
        """Shell commands that give the key's file to pipelines; none of a key of elsewhere."""
        path = Path(self.key.origin)
        return list_ci_key_commands(path, self.target) if path.is_absolute() else []


def new_key_lines_of(key_id: str, key_file: Path, target_name: str) -> list[str]:
    """Where a new key is, and the commands that carry it to the secrets of a pipeline; no key."""
    need = (
        "Every machine and job that uses this state needs this key. Keep a copy: without the "
        "key, nobody can check signatures. For a pipeline, set the key as a secret:"
    )
    commands = [f"  {line}" for line in list_ci_key_commands(key_file, target_name)]
    return [f"Created state key {key_id} in {key_file}.", need, *commands]


def list_ci_key_commands(key_file: Path, target_name: str) -> list[str]:
    """Shell commands that give a key file to the secrets of GitHub and GitLab, without the key.

    Of a forge whose program is not here, none; both where neither is.
    """
    name, path = key_variable_of(target_name), shlex.quote(str(key_file))
    target = shlex.quote(target_name)
    commands = {
        # Of an environment: every workflow of a pushed branch can read a secret of the repository.
        "gh": f"gh secret set {name} --env {target} < {path}",
        # The same there: of jobs with `environment: TARGET`, on protected branches and tags alone.
        # GitLab masks no value of several lines.
        "glab": f"tr -d '\\n' < {path} | glab variable set {name} --scope {target} --protected "
        "--masked",
    }
    return [command for program, command in commands.items() if which(program)] or [
        *commands.values()
    ]


def _choose_new_key_path(
    session: TargetSession, project_id: state_project.ProjectId, key_file: Path | None, hint: Text
) -> Path | None:
    """Where a key is to be made; None where there is one. InputError where there is no place."""
    if (current_key := session.reload_state_keys().current_key) is not None:
        if key_file is None:
            return None
        raise InputError.from_summary(
            "A state key already exists",
            f"Target {session.target.name} has key {current_key.key_id} from "
            f"{current_key.origin}, so the command creates no key in {key_file}.",
            "Leave out --key-file, or remove that key.",
        )
    if key_file is not None:
        return key_file
    sources = replace(session.key_sources, project=replace(session.project, id=project_id.text))
    user_key_path = sources.user_key_path
    is_free_to_choose = session.invocation.on_terminal and session.target.state.key is None
    if is_free_to_choose and user_key_path is not None:
        return user_key_path
    raise InputError.from_summary(
        "There is no state key for a state that several machines share",
        f"Every machine and job that uses the state of target {session.target.name} needs the "
        f"same key, and there is none in {session.key_sources.describe_key_places()}.",
        hint,
    )
