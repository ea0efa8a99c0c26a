"""The few facts about API v2 (facts, section 6): dry runs, guards of input, a read-only backend."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from contract.vendor.pages import Item
from contract.vendor.plugins import CATEGORIES
from contract.vendor.web import Handler, Refusal, Reply, Request, Route
from contract.vendor.world import OTHER_TENANT, OTHER_TOKEN, TENANT, TOKEN, World, show_moment

_META = {"request_id": "req-0123456789"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # tab, LF and CR pass [C 5]
_LARGEST_PAGE = 200  # the policy says so [C]; the true bound is unproved


class PlatformV2:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        # Backends of 2026-04 had these read-only: a 405 means "too old" [C].
        writes = self._world.guesses.writes_v2
        plugins: dict[str, Handler] = {"GET": self.list_plugins}
        plugin: dict[str, Handler] = {"GET": self.read_plugin}
        releases: dict[str, Handler] = {"GET": self.list_releases}
        if writes:
            plugins["POST"] = self.create_plugin
            plugin["PATCH"] = self.update_plugin
            releases["POST"] = self.create_release
        routes = [
            Route(r"/v2/plugins/", plugins),
            Route(r"/v2/plugins/([^/]+)/", plugin),
            Route(r"/v2/plugin-releases/", releases),
            Route(r"/v2/plugin-releases/([^/]+)/", {"GET": self.read_release}),
        ]
        return [
            Route(one.path, {name: _with_guards(deed) for name, deed in one.methods.items()}, True)
            for one in routes
        ]

    def list_plugins(self, request: Request, tenant: str) -> Reply:
        return _cursor_page(request, [_plugin(one) for one in self._own(tenant)])

    def read_plugin(self, request: Request, tenant: str, key: str) -> Reply:
        return _envelope(200, _plugin(self._plugin(tenant, key)))

    def create_plugin(self, request: Request, tenant: str) -> Reply:
        body = request.json()
        needed = ("code", "name", "category")
        details = [_detail(name, "required") for name in needed if not body.get(name)]
        if not details and body["category"] not in CATEGORIES:
            details.append(_detail("category", "not a choice"))
        if details:
            raise _refusal(400, "VALIDATION_ERROR", "invalid", details)
        fields = {name: body[name] for name in (*needed, "description") if name in body}
        if _is_dry_run(request):
            # The serializer alone: nothing stored, and a taken code is not seen [C 6] [D].
            return _dry_run_reply("create", fields)
        if any(one["code"] == body["code"] for one in self._world.plugins):
            raise _refusal(409, "CONFLICT", "code exists")
        plugin = self._world.add_plugin(tenant, **fields)
        first = self._world.add_release(plugin, str(body.get("version", "0.0.0")), b"")
        answer = {key: first[key] for key in ("id", "version", "is_released")}
        return _envelope(201, {**_plugin(plugin), "release": answer})

    def update_plugin(self, request: Request, tenant: str, key: str) -> Reply:
        plugin, body = self._plugin(tenant, key), request.json()
        details = [_detail(name, "cannot change") for name in ("code", "category") if name in body]
        if details:
            raise _refusal(400, "VALIDATION_ERROR", "invalid", details)
        fields = {name: body[name] for name in ("name", "description") if name in body}
        if _is_dry_run(request):
            return _dry_run_reply("update", fields)
        plugin.update(fields)
        return _envelope(200, _plugin(plugin))

    def list_releases(self, request: Request, tenant: str) -> Reply:
        owners = {one["id"] for one in self._own(tenant)}
        owner = request.parameter("plugin")
        releases = [
            one for one in reversed(self._world.releases)
            if one["plugin"] in owners and owner in {None, str(one["plugin"])}
        ]  # fmt: skip
        return _cursor_page(request, [_release(one) for one in releases])

    def read_release(self, request: Request, tenant: str, key: str) -> Reply:
        for plugin in self._own(tenant):
            for release in self._world.releases_of(plugin):
                if str(release["id"]) == key:
                    return _envelope(200, {**_release(release), "plugin": _plugin(plugin)})
        raise _refusal(404, "NOT_FOUND", "not found")

    def create_release(self, request: Request, tenant: str) -> Reply:
        form = {part.name: part for part in request.parts()}
        needed = ("plugin", "version", "sha256", "file")
        details = [_detail(name, "required") for name in needed if name not in form]
        if details:
            raise _refusal(400, "VALIDATION_ERROR", "invalid", details)
        plugin = self._plugin(tenant, form["plugin"].text)
        version, content = form["version"].text, form["file"].content
        assert form["sha256"].text == hashlib.sha256(content).hexdigest()
        if _is_dry_run(request):
            return _dry_run_reply("create", {name: form[name] for name in needed})
        if any(one["version"] == version for one in self._world.releases_of(plugin)):
            raise _refusal(409, "CONFLICT", "version exists")
        release = self._world.add_release(plugin, version, content)
        return _envelope(201, {**_release(release), "plugin": _plugin(plugin)})

    def _own(self, tenant: str) -> list[Item]:
        return [one for one in reversed(self._world.plugins) if one["tenant"] == tenant]

    def _plugin(self, tenant: str, key: str) -> Item:
        for plugin in self._own(tenant):
            if str(plugin["id"]) == key:
                return plugin
        raise _refusal(404, "NOT_FOUND", "not found")


def _with_guards(handler: Any) -> Handler:
    """The guards of input [C 5] and the bare token, before anything else is looked at."""

    def handle(request: Request, *keys: str) -> Reply:
        tenants = {TOKEN: TENANT, OTHER_TOKEN: OTHER_TENANT}
        tenant = tenants.get(request.headers.get("Synapse-Access-Token", ""))
        if tenant is None:
            raise _refusal(401, "AUTHENTICATION_REQUIRED", "no token")
        if any(set(key) & set("?#%&\\/") or ".." in key for key in keys):
            raise _refusal(400, "VALIDATION_ERROR", "invalid id")
        values = [value for _, value in request.query]
        if any(re.search("%[0-9A-Fa-f]{2}", value) for value in values):
            raise _refusal(400, "VALIDATION_ERROR", "doubly encoded query")
        if request.media_type == "application/json" and _has_control(request.json()):
            raise _refusal(400, "VALIDATION_ERROR", "control characters")
        reply: Reply = handler(request, tenant, *keys)
        return reply

    return handle


def _has_control(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_CONTROL.search(value))
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = (*value, *value.values())
    elif isinstance(value, list):
        inside = value
    return any(map(_has_control, inside))


def _cursor_page(request: Request, items: list[Item]) -> Reply:
    """By cursor; a `sort` that the view does not have is ignored [C]."""
    size = min(int(request.parameter("per_page") or 50), _LARGEST_PAGE)
    start = int(request.parameter("cursor") or 0)
    following = str(start + size) if start + size < len(items) else None
    pagination = {"next_cursor": following, "previous_cursor": None, "per_page": size}
    page = {"data": items[start : start + size], "meta": {**_META, "pagination": pagination}}
    return Reply(200, page)


def _plugin(plugin: Item) -> Item:
    names = (
        "id", "code", "name", "category", "is_active", "description", "system_only", "is_public",
    )  # fmt: skip
    answer = {name: plugin[name] for name in names}
    return {**answer, "created": show_moment(plugin["created"]), "tenant_id": 7}


def _release(release: Item) -> Item:
    answer = {key: release[key] for key in ("id", "version", "debug", "is_released")}
    return {**answer, "plugin_id": release["plugin"], "created": show_moment(release["created"])}


def _is_dry_run(request: Request) -> bool:
    return (request.parameter("dry_run") or "").lower() == "true"


def _dry_run_reply(action: str, fields: Iterable[str]) -> Reply:
    return _envelope(200, {"dry_run": True, "action": action, "validated_fields": sorted(fields)})


def _envelope(status: int, value: Any) -> Reply:
    return Reply(status, {"data": value, "meta": dict(_META)})


def _detail(name: str, message: str) -> Item:
    return {"field": name, "message": message}


def _refusal(status: int, code: str, message: str, details: Any = None) -> Refusal:
    fault = {"code": code, "message": message, "details": details}
    return Refusal(status, {"error": fault, "meta": dict(_META)})
