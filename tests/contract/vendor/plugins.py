"""`plugins/` of v1 (facts, section 2) and the runs of `plugins/{code or id}/run/` (section 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from contract.vendor import jobs
from contract.vendor.pages import Item, list_items
from contract.vendor.web import Refusal, Reply, Request, Route
from contract.vendor.world import World, is_shared

# Closed [D from OA]; `custom`, which packages may say, is not among them.
CATEGORIES = frozenset(
    {
        "neural_net", "export", "upload", "smart_tool", "pre_annotation", "post_annotation",
        "data_validation", "converter",
    }
)  # fmt: skip
_REQUIRED = ("name", "code", "category")
_DEFAULTS: dict[str, Any] = {
    "description": "", "is_public": False, "is_active": True, "system_only": False, "detail": {},
}  # fmt: skip
# Exactly these eight are written and read [M]; version, author and configuration are no fields.
FIELDS = (*_REQUIRED, *_DEFAULTS)


class Plugins:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        # No DELETE in any tool, PATCH untold in v1: both are 405.
        return [
            Route(r"/plugins/", {"GET": self.list, "POST": self.create}),
            Route(r"/plugins/([^/]+)/", {"GET": self.read, "PUT": self.update}),
            Route(r"/plugins/([^/]+)/run/", {"POST": self.run}),
        ]

    def list(self, request: Request) -> Reply:
        """All that the tenant sees, with page numbers [M]; which filters it has is [G]: none."""
        items = self._world.visible_plugins(request.tenant)
        return list_items(request, items, self.show, {}, self._world.guesses.page_size)

    def create(self, request: Request) -> Reply:
        """Name, code and category are needed; any other unknown key is dropped in silence [D]."""
        body = request.json()
        errors = _errors(request, body)
        errors |= {
            name: [request.say("required")]
            for name in _REQUIRED
            if name not in body and name not in errors
        }
        # Unique among all tenants, told by the model's own validator as a 400 [M] [OA].
        if "code" not in errors and any(p["code"] == body["code"] for p in self._world.plugins):
            errors["code"] = [request.say("code exists")]
        if not errors and body.get("system_only"):
            errors["non_field_errors"] = [request.say("system")]  # [M]
        if errors:
            raise Refusal(400, errors)
        fields = {**_DEFAULTS, **{name: body[name] for name in FIELDS if name in body}}
        plugin = self._world.add_plugin(request.tenant, **fields)
        answer = self.show(plugin)
        if self._world.guesses.makes_first_release:
            # Newer backends make a first release along with it [OA PluginBootstrapReleaseRef].
            first = self._world.add_release(plugin, "0.0.0", b"", config={"code": plugin["code"]})
            answer["release"] = {key: first[key] for key in ("id", "version", "is_released")}
        return Reply(self._world.guesses.created_status, answer)

    def read(self, request: Request, key: str) -> Reply:
        return Reply(200, self.show(self._find(request, key)))

    def update(self, request: Request, key: str) -> Reply:
        """PUT; of somebody else's plugin 403 where it is seen [D], else 404."""
        plugin = self._find(request, key)
        if plugin["tenant"] != request.tenant:
            raise Refusal(403, {"detail": request.say("forbidden")})
        body = request.json()
        errors = _errors(request, body)
        if self._world.guesses.needs_whole_put:
            absent = [name for name in _REQUIRED if name not in body]
            errors |= {name: [request.say("required")] for name in absent}
        if body.get("code", plugin["code"]) != plugin["code"]:
            # The code never changes [OA]; refused or ignored is [G].
            if self._world.guesses.changed_code == "refuse":
                errors["code"] = [request.say("code fixed")]
            body = {**body, "code": plugin["code"]}
        if not errors and body.get("system_only"):
            errors["non_field_errors"] = [request.say("system")]
        if errors:
            raise Refusal(400, errors)
        plugin.update({name: body[name] for name in FIELDS if name in body})
        return Reply(200, self.show(plugin))

    def run(self, request: Request, key: str) -> Reply:
        """A run, by the code or the id [S]."""
        plugin = next(
            (
                p
                for p in self._world.visible_plugins(request.tenant)
                if key in {p["code"], str(p["id"])}
            ),
            None,
        )
        if plugin is None:
            raise Refusal(404, {"detail": request.say("not found")})
        return jobs.start_run(self._world, request, plugin)

    def show(self, plugin: Item) -> Item:
        answer = {name: plugin[name] for name in ("id", *FIELDS)}
        return answer | ({"tenant": plugin["tenant"]} if self._world.guesses.shows_tenant else {})

    def _find(self, request: Request, key: str) -> Item:
        for plugin in self._world.plugins:
            by_code = self._world.guesses.reads_by_code and plugin["code"] == key
            # One object is read by whoever may see it, whether a list shows it or not.
            is_readable = plugin["tenant"] == request.tenant or is_shared(plugin)
            if is_readable and (str(plugin["id"]) == key or by_code):
                return plugin
        raise Refusal(404, {"detail": request.say("not found")})


def _errors(request: Request, body: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the fields that are there."""
    errors: dict[str, list[str]] = {}
    for name in ("name", "code", "category", "description"):
        if name in body and not isinstance(body[name], str):
            errors[name] = [request.say("not a string")]
        elif name in _REQUIRED and name in body and not body[name].strip():
            errors[name] = [request.say("blank")]
    for name in ("is_public", "is_active", "system_only"):
        if name in body and not isinstance(body[name], bool):
            errors[name] = [request.say("not a boolean")]
    if "detail" in body and not isinstance(body["detail"], dict):
        errors["detail"] = [request.say("not a map")]
    # A slug; answers may hold these [OA].
    if (
        "code" in body
        and "code" not in errors
        and not re.fullmatch(r"[-\w]+", body["code"], re.ASCII)
    ):
        errors["code"] = [request.say("slug")]
    if "category" in body and "category" not in errors and body["category"] not in CATEGORIES:
        errors["category"] = [request.say("choice", body["category"])]
    return errors
