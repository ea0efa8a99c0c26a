"""Which methods a script has for the live objects of one target: what the command `get` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.library.arguments import require_text
from synapse_apply.library.target_connection import TargetConnection
from synapse_apply.model.errors import InputError

if TYPE_CHECKING:
    from synapse_apply.live.live_backend import LiveBackend, LiveObject


class TargetLive:
    """The live objects of a target, as `OpenTarget.live` returns it. Nothing is changed.

    Needs no manifests; a state, where there is one, tells the ids of recorded names. A kind is
    `plugin`, `release` or `storage`. What is secret is wrapped in each object.
    """

    def __init__(self, connection: TargetConnection) -> None:
        """`OpenTarget.live` is the way to get one."""
        self._connection = connection

    def list_objects(self, kind: str) -> list[LiveObject]:
        """Every object of a kind that the token may see; InputError where the API has no list.

        Objects of a list may lack fields that `find_object` reads.
        """
        from synapse_apply.operations.get_objects import list_objects

        with self._connection.open_live_backend() as live_backend:
            return list_objects(live_backend, _require_kind(live_backend, kind))

    def find_object(self, kind: str, name: str) -> LiveObject:
        """The object of a name: an id (`123`, `id=123`), a recorded name, a code or a name there.

        Of a release CODE@VERSION. InputError where there is none, or there are several.
        """
        from synapse_apply.operations.get_objects import require_object

        name = require_text("name", name)
        with self._connection.open_live_backend() as live_backend:
            return require_object(live_backend, _require_kind(live_backend, kind), name)

    def find_plugin_of_release(self, release: LiveObject) -> LiveObject | None:
        """The plugin that a release belongs to; None where the release names none."""
        from synapse_apply.operations.get_objects import read_owner

        with self._connection.open_live_backend() as live_backend:
            return read_owner(live_backend, "release", release)

    def list_releases(self, plugin: str) -> list[LiveObject]:
        """The releases of a plugin, the newest version first; what has no version order is last.

        `plugin` is a code, a recorded name, or `id=123`. InputError where there is no such plugin,
        as far as the backend can tell; where it cannot, nothing is listed.
        """
        from synapse_apply.operations.get_objects import list_releases

        plugin = require_text("plugin", plugin)
        with self._connection.open_live_backend() as live_backend:
            return list_releases(live_backend, plugin)


def _require_kind(live_backend: LiveBackend, kind: str) -> str:
    """The kind; InputError for one that there is not."""
    if kind not in live_backend.catalogue:
        kinds = ", ".join(sorted(live_backend.catalogue))
        raise InputError.from_summary("There is no such kind", f"{kind!r} is none of {kinds}.")
    return kind
