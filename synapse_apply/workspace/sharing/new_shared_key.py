"""Where the key of a new shared state is made, and that the project has an id before."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from synapse_apply.model.command import Text
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.secrets.keys import StateKey, format_key_variable_name_of_target
from synapse_apply.workspace.sharing.project_binding import (
    NO_PROJECT_ID,
    ProjectId,
    get_or_generate_project_id,
    write_project_id_or_raise_if_other,
)
from synapse_apply.workspace.target_session import TargetSession


@frozen
class SharedKey:
    """The key of a new shared state, and the project that it is bound to.

    `key_file` is the file in which it was made, None where there was a key.
    `is_found_by_commands`: commands on this machine find the key without being told where it is.
    """

    project_id: ProjectId
    key: StateKey | None
    key_file: Path | None
    is_found_by_commands: bool


def find_or_make_shared_key_and_write_project_id(
    session: TargetSession, hint: Text, key_file: Path | None = None
) -> SharedKey:
    """The key at hand, or a new one, in `key_file` or at a terminal in the user's folder.

    The session uses it from now on. At a terminal the project gets an id, if its file has none:
    what a pipeline wrote there would be gone with its checkout. InputError, with the hint, where
    there is neither a key nor a place for one.
    """
    project_id = get_or_generate_project_id(session.project)
    if project_id.is_new and not session.invocation.on_terminal:
        project_id = NO_PROJECT_ID
    new_key_path = _choose_new_key_path_or_none_if_key_exists(session, project_id, key_file, hint)
    # First the id, which is part of the key's file name.
    if project_id.is_new:
        write_project_id_or_raise_if_other(session.project, project_id.text)
        session.project = replace(session.project, id=project_id.text)
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
        session.use_state_key_in_this_run(made_key)
    return SharedKey(project_id, key, new_key_path, is_found_by_commands=found_key == key)


def build_lines_about_new_key(
    key_id: str, key_file: Path, target_name: str, *, is_found_by_commands: bool = True
) -> list[str]:
    """Where a new key is, and the commands that carry it to the secrets of a pipeline; no key.

    `is_found_by_commands`: commands on this machine look there by themselves.
    """
    lines = [f"Made state key {key_id} in {key_file}."]
    if not is_found_by_commands:
        lines.append(
            "No command looks there by itself: put it into "
            f"{format_key_variable_name_of_target(target_name)}, or name it in the project file: "
            f"targets.{target_name}.state.key: {{file: PATH}}."
        )
    lines.append(
        "Every machine and job that uses this state needs this key. Keep a copy: without it nobody "
        "can check what was signed. To a secret of a pipeline:"
    )
    return [
        *lines,
        *(f"  {line}" for line in list_shell_commands_giving_key_to_ci(key_file, target_name)),
    ]


def list_shell_commands_giving_key_to_ci(key_file: Path, target_name: str) -> list[str]:
    """Shell commands that give a key file to the secrets of GitHub and GitLab, without the key."""
    name, path = format_key_variable_name_of_target(target_name), shlex.quote(str(key_file))
    target = shlex.quote(target_name)
    return [
        # Of an environment: every workflow of a pushed branch can read a secret of the repository.
        f"gh secret set {name} --env {target} < {path}",
        # The same there: of jobs with `environment: TARGET`, on protected branches and tags alone.
        # GitLab masks no value of several lines.
        f"tr -d '\\n' < {path} | glab variable set {name} --scope {target} --protected --masked",
    ]


def _choose_new_key_path_or_none_if_key_exists(
    session: TargetSession, project_id: ProjectId, key_file: Path | None, hint: Text
) -> Path | None:
    """Where a key is to be made; None where there is one. InputError where there is no place."""
    current_key = session.reload_state_keys().current_key
    if current_key is not None:
        if key_file is None:
            return None
        raise InputError.from_summary(
            "There is a state key already",
            f"Target {session.target.name} has key {current_key.key_id} from "
            f"{current_key.origin}, so none is made in {key_file}.",
            "Leave out --key-file, or take that key away.",
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
