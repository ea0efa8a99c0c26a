"""Which methods a script has for live objects: what `get`, `export` and `agents check` do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.library.arguments import (
    require_and_join_path,
    require_names,
    require_text,
)
from synapse_apply.library.target_connection import TargetConnection
from synapse_apply.model.errors import InputError

if TYPE_CHECKING:
    from synapse_apply.live.live_backend import LiveBackend, LiveObject
    from synapse_apply.model.checkup import Checkup
    from synapse_apply.operations.checks.offered_operations import BackendOffer
    from synapse_apply.operations.export import ExportedFiles


class TargetLive:
    """The live objects of a target, as `OpenTarget.live` returns it. Nothing is changed.

    Needs no manifests; a state, where there is one, tells the ids of recorded names. A kind is
    `plugin`, `release` or `storage`. What is secret is wrapped in each object.
    """

    def __init__(self, connection: TargetConnection) -> None:
        """`OpenTarget.live` is the way to get one."""
        self._connection = connection

    def read_offer(self) -> BackendOffer:
        """Which operations the backend offers, by reads alone; needs no state and no manifests.

        Raises nothing for a backend that cannot be asked: the result says why.
        """
        from synapse_apply.operations.checks.offered_operations import (
            read_backend_offer_or_unasked_reason,
        )

        with self._connection.pin_refs_and_convert_errors():
            return read_backend_offer_or_unasked_reason(self._connection.invocation)

    def list_objects(self, kind: str) -> list[LiveObject]:
        """Every object of a kind that the token may see; InputError where the API has no list.

        Objects of a list may lack fields that `find_object` reads.
        """
        from synapse_apply.operations.get_objects import list_all_objects_or_raise_if_unlistable

        with self._connection.open_or_reuse_live_backend() as live_backend:
            return list_all_objects_or_raise_if_unlistable(
                live_backend, _require_known_kind(live_backend, kind)
            )

    def find_object(self, kind: str, name: str) -> LiveObject:
        """The object of a name: an id (`123`, `id=123`), a recorded name, a code or a name there.

        Of a release CODE@VERSION. InputError where there is none, or there are several.
        """
        from synapse_apply.operations.get_objects import require_object_by_id_or_name

        name = require_text("name", name)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            return require_object_by_id_or_name(
                live_backend, _require_known_kind(live_backend, kind), name
            )

    def find_plugin_of_release(self, release: LiveObject) -> LiveObject | None:
        """The plugin that a release belongs to; None where the release names none."""
        from synapse_apply.operations.get_objects import read_owner_or_none_if_unnamed

        with self._connection.open_or_reuse_live_backend() as live_backend:
            return read_owner_or_none_if_unnamed(live_backend, "release", release)

    def list_releases(self, plugin: str) -> list[LiveObject]:
        """The releases of a plugin, the newest version first; what has no version order is last.

        `plugin` is a code, a recorded name, or `id=123`. InputError where there is no such plugin,
        as far as the backend can tell; where it cannot, nothing is listed.
        """
        from synapse_apply.operations.get_objects import list_releases_of_plugin_newest_first

        plugin = require_text("plugin", plugin)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            return list_releases_of_plugin_newest_first(live_backend, plugin)

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
        """Write live objects as manifests, a file each, and an inventory for `import_objects`.

        No value of a secret is written. `inventory` is by default inventory.yaml beside `folder`.
        `only` are kinds. `codes` and `ids` say which plugins and other objects, where not all that
        can be listed: `ids` by kind, each the id of an object that must be there, or a range, of
        which what is not there is passed over. `from_jobs` adds the plugins that jobs name;
        `releases` is `newest`, `all` or `none` of each plugin; `unmanaged` leaves out what the
        state records. What could not be exported is in the `report` of the result. InputError,
        with nothing written, for a file that is there with other content, unless `force`.
        """
        from synapse_apply.live.discovery import GatherQuery
        from synapse_apply.operations.export import (
            choose_unprotected_inventory_path_or_raise,
            export_live_objects_to_folder,
        )

        invocation = self._connection.invocation
        folder_path = require_and_join_path("folder", folder, invocation.directory)
        inventory_path = choose_unprotected_inventory_path_or_raise(
            invocation,
            folder_path,
            None
            if inventory is None
            else require_and_join_path("inventory", inventory, invocation.directory),
        )
        query = GatherQuery.from_ids_and_ranges_with_valid_members(
            ids or {},
            codes=require_names("codes", codes),
            from_jobs=from_jobs,
            members=releases,
        )
        kinds = require_names("only", only)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            for kind in (*kinds, *query.ids):
                _require_known_kind(live_backend, kind)
            return export_live_objects_to_folder(
                live_backend, query, folder_path, inventory_path,
                only=kinds, unmanaged=unmanaged, force=force,
            )  # fmt: skip

    def check_agents(
        self, names: Sequence[str] = (), *, token_variables: Sequence[str] = ()
    ) -> Checkup:
        """Ask agents for their health, once; a row for each, also for one that does not answer.

        `names` are agents of the project file, all of the target by default; `token_variables` are
        environment variables with the tokens of others. InputError for a name that there is not.
        """
        from synapse_apply.operations.agents import check_health_of_target_or_variable_agents

        names = require_names("names", names)
        variables = require_names("token_variables", token_variables)
        with self._connection.pin_refs_and_convert_errors():
            return check_health_of_target_or_variable_agents(
                self._connection.invocation, names, variables
            )


def _require_known_kind(live_backend: LiveBackend, kind: str) -> str:
    """The kind; InputError for one that there is not."""
    if kind not in live_backend.catalogue:
        kinds = ", ".join(sorted(live_backend.catalogue))
        raise InputError.from_summary("There is no such kind", f"{kind!r} is none of {kinds}.")
    return kind
