"""`plugin_releases/` of v1 (facts, section 3) and the presigned URLs of its packages."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import yaml
from contract.vendor.pages import Item, list_items
from contract.vendor.web import Part, Refusal, Reply, Request, Route
from contract.vendor.world import World, show_moment

_TRUE = {"True", "true", "1"}


class Releases:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        # Neither DELETE nor PATCH in v1. The lookup is anything without a slash [S].
        return [
            Route(r"/plugin_releases/", {"GET": self.list, "POST": self.create}),
            Route(r"/plugin_releases/([^/]+)/", {"GET": self.read}),
            Route(r"/files/[0-9]+/[0-9a-f]+\.zip", {"GET": self.package}, is_open=True),
        ]

    def list(self, request: Request) -> Reply:
        """`plugin` is an id [M] or a code [S]; the first item is the newest."""
        visible = {plugin["id"]: plugin for plugin in self._world.visible_plugins(request.tenant)}
        items = [one for one in self._world.releases if one["plugin"] in visible]
        owner = request.parameter("plugin")
        if owner is not None:
            ids = {one["id"] for one in visible.values() if owner in {one["code"], str(one["id"])}}
            items = [one for one in items if one["plugin"] in ids]
            if not ids and self._world.guesses.unknown_owner_filter == "404":
                raise Refusal(404, {"detail": request.say("not found")})
            if not ids and self._world.guesses.unknown_owner_filter == "400":
                raise Refusal(400, {"plugin": [request.say("unknown object", owner)]})
        show = self._shower(request)
        return list_items(request, items, show, {}, self._world.guesses.page_size)

    def read(self, request: Request, lookup: str) -> Reply:
        """By its id, or by `code@version`; `expand=plugin` makes an object of the plugin [S]."""
        for plugin in self._world.visible_plugins(request.tenant):
            for release in self._world.releases_of(plugin):
                if lookup in {str(release["id"]), f"{plugin['code']}@{release['version']}"}:
                    answer = self._shower(request)(release)
                    if "plugin" in (request.parameter("expand") or "").split(","):
                        names = ("id", "name", "code", "category")
                        answer["plugin"] = {name: plugin[name] for name in names}
                    return Reply(200, answer)
        raise Refusal(404, {"detail": request.say("not found")})

    def create(self, request: Request) -> Reply:
        """The publisher's multipart form [S] [O]; other parts are dropped in silence [D]."""
        form = _form(request)
        plugin = self._owner(request, form)
        content, packaged = _package(request, form)
        debug = "debug" in form and form["debug"].text in _TRUE
        if not debug and self._world.guesses.refuses_disagreement:
            # A debug release skips the backend's validation [M].
            _compare(request, form, packaged)
        # The backend reads config.yaml in the zip and sets nothing on its own [Sm].
        fields = {"config": packaged, "debug": debug, "content": content}
        if debug or self._world.guesses.keeps_meta:
            fields["meta"] = _json_part(request, form, "meta")
        version = packaged["version"]
        existing = next(
            (r for r in self._world.releases_of(plugin) if r["version"] == version), None
        )
        if existing is not None:
            self._refuse_if_taken(request, existing, debug=debug)
            existing.update(fields)
            return Reply(self._world.guesses.created_status, self._shower(request)(existing))
        release = self._world.add_release(plugin, version, **fields)
        return Reply(self._world.guesses.created_status, self._shower(request)(release))

    def package(self, request: Request) -> Reply:
        """The bytes at a presigned URL; no token is needed [M], and none may come along.

        A request with a second way of signing in is refused, as object stores do [D].
        """
        names = ("Authorization", "Synapse-Access-Token", "Synapse-Tenant", "SYNAPSE-Agent")
        if any(request.headers.get(name) for name in names):
            raise Refusal(400, {"detail": "Only one auth mechanism allowed"})
        if not self._world.is_signed(request):
            raise Refusal(403, {"detail": "Request has expired"})
        if self._world.guesses.file_redirect:
            where = self._world.guesses.file_redirect
            return Reply(302, content=b"", headers=(("Location", where),))
        release = next(r for r in self._world.releases if f"/{r['id']}/" in request.path)
        return Reply(200, content=release["content"], content_type="application/zip")

    def _refuse_if_taken(self, request: Request, existing: Item, *, debug: bool) -> None:
        guesses = self._world.guesses
        # `is_released` locks for good [OA]; else a debug upload updates what is there [M].
        if existing["is_released"]:
            raise Refusal(guesses.taken_version_status, {"version": [request.say("locked")]})
        if debug:
            return
        text = request.say("version exists")
        key = guesses.taken_version_key
        words: Any = text if key == "detail" else [text]
        raise Refusal(guesses.taken_version_status, {key: words})

    def _owner(self, request: Request, form: dict[str, Part]) -> Item:
        if "plugin" not in form:
            raise Refusal(400, {"plugin": [request.say("required")]})
        reference = form["plugin"].text
        forms = {"code": ("code",), "id": ("id",), "both": ("code", "id")}
        for plugin in self._world.visible_plugins(request.tenant):
            names = forms[self._world.guesses.plugin_reference]
            if reference in {str(plugin[name]) for name in names}:
                if plugin["tenant"] != request.tenant:
                    raise Refusal(403, {"detail": request.say("forbidden")})
                return plugin
        raise Refusal(400, {"plugin": [request.say("unknown object", reference)]})

    def _shower(self, request: Request) -> Any:
        def show(release: Item) -> Item:
            answer = {key: release[key] for key in ("id", "plugin", "version", "config", "debug")}
            # v2 shows these, v1 likely the same [D]. There is no changelog and no is_stable.
            answer |= {"meta": release["meta"], "is_released": release["is_released"]}
            answer["created"] = show_moment(release["created"])
            # A new signature each time it is shown [M].
            return answer | {"file": self._world.presign(release, request.origin)}

        return show


def _form(request: Request) -> dict[str, Part]:
    """The parts by name. No publisher ever sent a release without a file [O]."""
    if request.media_type != "multipart/form-data":
        request.json()
        raise Refusal(400, {"file": [request.say("required")]})
    return {part.name: part for part in request.parts()}


def _package(request: Request, form: dict[str, Part]) -> tuple[bytes, dict[str, Any]]:
    """The bytes, and config.yaml in them, of which the platform takes version and config."""
    if "file" not in form:
        raise Refusal(400, {"file": [request.say("required")]})
    content = form["file"].content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config = yaml.safe_load(archive.read("config.yaml"))
    except (zipfile.BadZipFile, KeyError, yaml.YAMLError):
        config = None
    if not isinstance(config, dict):
        raise Refusal(400, {"file": [request.say("package")]})
    version = config.get("version", "0.1.0")
    # An unquoted `1.0` is a number and is refused [run].
    if not isinstance(version, str) or not version:
        raise Refusal(400, {"version": [request.say("not a string")]})
    return content, {**config, "version": version}


def _compare(request: Request, form: dict[str, Part], packaged: dict[str, Any]) -> None:
    """What the form says beside the package is at best checked against it [D]."""
    errors = {}
    if "version" in form and form["version"].text != packaged["version"]:
        errors["version"] = [request.say("disagrees")]
    config = _json_part(request, form, "config")
    if any(packaged.get(name) != value for name, value in config.items()):
        errors["config"] = [request.say("disagrees")]
    if errors:
        raise Refusal(400, errors)


def _json_part(request: Request, form: dict[str, Part], name: str) -> dict[str, Any]:
    """A part of JSON text that holds an object [S]."""
    if name not in form:
        return {}
    try:
        value = json.loads(form[name].text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, {name: [request.say("not a map")]})
    return value
