"""How live objects are read and listed: what `get` and `export` do, and the health of agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.kinds.wire import list_raw_objects
from synapse_apply.live.live_backend import LiveBackend, LiveObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError, NotFound
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.packages import version_sort_key
from synapse_apply.model.phrases import shown_path, suggest_name
from synapse_apply.model.report import Checkup
from synapse_apply.model.values import SecretRef
from synapse_apply.operations.connection import (
    PartOfTarget,
    require_names,
    require_text,
)

if TYPE_CHECKING:
    from synapse_apply.operations.doctor import BackendOffer
    from synapse_apply.operations.export import ExportedFiles


class TargetLive(PartOfTarget):
    """The live objects of a target, as `OpenTarget.live` returns it. Nothing is changed.

    Needs no manifests; a state, where there is one, tells the ids of recorded names. A kind is
    `plugin`, `release` or `storage`. What is secret is wrapped in each object.
    """

    def read_offer(self) -> BackendOffer:
        """Check which operations the backend supports. It needs no state and no manifests.

        Raises nothing for a backend that cannot be asked: the result says why.
        """
        from synapse_apply.operations.doctor import read_offer

        with self._connection.guarded():
            return read_offer(self._connection.invocation)

    def list_objects(self, kind: str) -> list[LiveObject]:
        """List the objects of a kind that the token can read. Raises InputError without a list.

        Objects of a list may lack fields that `find_object` reads.
        """
        with self._connection.live() as live_backend:
            _require_known_kind(live_backend, kind)
            binding = live_backend.select_binding(kind)
            if (raws := list_raw_objects(live_backend.api, binding)) is not None:
                return [live_backend.decode(kind, raw) for raw in raws]
            listed = live_backend.catalogue[kind]
            name, owner = listed.kind.lower(), listed.series_field
            raise InputError.from_summary(
                f"This backend has no list of {name}s",
                f"API {binding.api} of target {live_backend.target.name} cannot list every {name}.",
                Text(
                    Command("get", f"{kind}s", f"--{owner}", "NAME"),
                    f" lists those of one {owner}.",
                )
                if owner
                else Text(
                    Command("get", kind, "NAME"),
                    " shows one, and ",
                    Command("state show"),
                    " lists the recorded ones.",
                ),
            )

    def find_object(self, kind: str, name: str) -> LiveObject:
        """Find an object by id (`123`, `id=123`), recorded name, code, or name on the backend.

        Of a release CODE@VERSION. InputError where there is none, or there are several.
        """
        name = require_text("name", name)
        with self._connection.live() as live_backend:
            _require_known_kind(live_backend, kind)
            return live_backend.find(kind, name)

    def find_plugin_of_release(self, release: LiveObject) -> LiveObject | None:
        """Find the plugin of a release; None if the release has no plugin.

        By a call of its own: servers answer `expand` in different forms. InputError where it is
        gone.
        """
        with self._connection.live() as live_backend:
            kind = live_backend.catalogue["release"]
            if (owner := release.observed.spec.get(kind.series_field)) is None:
                return None
            prefix = kind.rules[kind.series_field].references
            return live_backend.decode(prefix, live_backend.read(prefix, str(owner)))

    def list_releases(self, plugin: str) -> list[LiveObject]:
        """List the releases of a plugin, newest first. Versions without an order come last.

        `plugin` is a code, a recorded name, or `id=123`. InputError where there is no such plugin,
        as far as the backend can tell; where it cannot, nothing is listed.
        """
        plugin = require_text("plugin", plugin)
        with self._connection.live() as live_backend:
            binding = live_backend.select_binding("release")
            raws: Sequence[ServerObject]
            if binding.list_belonging is not None:
                owner = live_backend.find("plugin", plugin).observed
                raws = binding.list_belonging(live_backend.api, owner.remote_id)
            else:
                raws = _read_releases_by_code(live_backend, plugin)
            releases = [live_backend.decode("release", raw) for raw in raws]
        keys = [version_sort_key(str(release.observed.spec.get("version"))) for release in releases]
        keyed = list(zip(keys, releases, strict=True))
        ordered = [(key, release) for key, release in keyed if key is not None]
        ordered.sort(key=lambda pair: pair[0], reverse=True)
        return [
            *(release for _, release in ordered),
            *(release for key, release in keyed if key is None),
        ]

    def export_manifests(
        self,
        folder: Path | str = "manifests",
        *,
        inventory: Path | str | None = None,
        only: Sequence[str] = (),
        codes: Sequence[str] = (),
        ids: Mapping[str, Iterable[str | range]] | None = None,
        from_jobs: bool = False,
        releases: str = "newest",
        unmanaged: bool = False,
        force: bool = False,
    ) -> ExportedFiles:
        """Write live objects as manifests, one file each, and an inventory for `import_objects`.

        No value of a secret is written. `inventory` is by default inventory.yaml beside `folder`.
        `only` are kinds. `codes` and `ids` say which plugins and other objects, where not all that
        can be listed: `ids` by kind, each the id of an object that must be there, or a range, of
        which what is not there is passed over. `from_jobs` adds the plugins that jobs name;
        `releases` is `newest`, `all` or `none` of each plugin; `unmanaged` leaves out what the
        state records. What could not be exported is in the `report` of the result. InputError,
        with nothing written, for a file that is there with other content, unless `force`.
        """
        from synapse_apply.live.discovery import GatherQuery
        from synapse_apply.operations.export import export_to_folder
        from synapse_apply.operations.protected_files import explain_protection

        invocation = self._connection.invocation
        folder_path = self._path("folder", folder)
        inventory_path = folder_path.parent / "inventory.yaml"
        if inventory is not None:
            inventory_path = self._path("inventory", inventory)
        if reason := explain_protection(inventory_path, invocation, inventory=True):
            raise InputError.from_summary(
                "The inventory cannot be written",
                f"{shown_path(inventory_path)} {reason}. Nothing was done.",
                "Choose a different file with --inventory.",
            )
        query = GatherQuery.from_ids_and_ranges(
            ids or {}, codes=require_names("codes", codes), from_jobs=from_jobs, members=releases
        )
        kinds = require_names("only", only)
        with self._connection.live() as live_backend:
            for kind in (*kinds, *query.ids):
                _require_known_kind(live_backend, kind)
            return export_to_folder(
                live_backend, query, folder_path, inventory_path,
                only=kinds, unmanaged=unmanaged, force=force,
            )  # fmt: skip

    def check_agents(
        self, names: Sequence[str] = (), *, token_variables: Sequence[str] = ()
    ) -> Checkup:
        """Check the health of agents once. Each agent has a row, even if it does not answer.

        `names` are agents of the project file, all of the target by default; `token_variables` are
        environment variables with the tokens of others. InputError for a name that there is not.
        """
        from synapse_apply.operations.health import ask_agents
        from synapse_apply.workspace.target_session import TargetSession

        names = require_names("names", names)
        variables = require_names("token_variables", token_variables)
        with self._connection.guarded():
            session = TargetSession(self._connection.invocation, read_only=True)
            target = session.target
            tokens = [(name, SecretRef("env", name)) for name in dict.fromkeys(variables)]
            if names or not tokens:
                if not target.agents:
                    raise InputError.from_summary(
                        "The target declares no agents",
                        f"Target {target.name} has no `agents:` in the project file.",
                        "Declare them there, such as {gpu-1: {env: NAME}}, or pass "
                        "`token_variables`.",
                        position=target.position,
                    )
                chosen = dict.fromkeys(names or target.agents)
                findings = [
                    error_finding(
                        "There is no such agent",
                        f"Target {target.name} declares no agent {name}.",
                        suggest_name(name, target.agents, f"Known: {', '.join(target.agents)}."),
                        position=target.position,
                    )
                    for name in chosen
                    if name not in target.agents
                ]
                if findings:
                    raise InputError(*findings)
                tokens = [*((name, target.agents[name]) for name in chosen), *tokens]
            with session:
                health_check = session.backend.api.health_check_agent
                rows = ask_agents(tokens, session.resolver.resolve_setting, health_check)
            return Checkup(target.name, (("Agents", tuple(rows)),)).with_target(
                self._connection.invocation.target or ""
            )


def _require_known_kind(live_backend: LiveBackend, kind: str) -> str:
    """The kind; InputError for one that there is not."""
    if kind not in live_backend.catalogue:
        kinds = ", ".join(sorted(live_backend.catalogue))
        raise InputError.from_summary("There is no such kind", f"{kind!r} is not one of {kinds}.")
    return kind


def _read_releases_by_code(live_backend: LiveBackend, plugin: str) -> Sequence[ServerObject]:
    """The releases of a plugin where the API lists them by the plugin's code.

    InputError for a plugin that is certainly not there, or that has no code.
    """
    code = plugin
    if (plugin_id := live_backend.known_id("plugin", plugin)) is not None:
        raw_code = live_backend.read("plugin", plugin_id).get("code")
        if not (isinstance(raw_code, str) and raw_code):
            raise InputError.from_summary(
                "This plugin has no code",
                f"{plugin}: the API lists releases by the code of their plugin, and this plugin "
                "has no code.",
                Text(
                    Command("state show"),
                    " shows the releases that the state knows, with their ids.",
                ),
            )
        code = raw_code
    try:
        raw_releases: Sequence[ServerObject] = live_backend.api.list_plugin_releases(code)
    # A 404 does not tell a plugin without releases from a code that no plugin has.
    except NotFound:
        raw_releases = ()
    if not raw_releases:
        live_backend.find_if_told("plugin", plugin)
    return raw_releases
