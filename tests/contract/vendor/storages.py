"""`storages/` of v1 (facts, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contract.vendor.pages import Item, list_items
from contract.vendor.web import Refusal, Reply, Request, Route
from contract.vendor.world import World

# Exact keys: those that are needed, others, and those that only a credential regime hands out.
_KEYS: dict[str, tuple[set[str], set[str], set[str]]] = {
    "amazon_s3": (
        {"bucket_name", "access_key", "secret_key"},
        {"region_name", "endpoint_url"},
        {"access_key", "secret_key"},
    ),
    "file_system": ({"location"}, set(), set()),
    "gcp": ({"bucket_name", "credentials"}, {"project"}, {"credentials"}),
    "sftp": (
        {"host", "username"},
        {"port", "root_path", "password", "private_key", "private_key_passphrase"},
        {"password", "private_key", "private_key_passphrase"},
    ),
}
_KEYS["minio"] = _KEYS["amazon_s3"]


class Storages:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        # No tool updates or deletes a storage; a POST is known from one page alone [G].
        methods = {"GET": self.list}
        if self._world.guesses.takes_storages:
            methods["POST"] = self.create
        return [
            Route(r"/storages/", methods),
            Route(r"/storages/([^/]+)/", {"GET": self.read}),
        ]

    def list(self, request: Request) -> Reply:
        """A page or a bare list [S], without configurations; `category` narrows [S]."""
        storages = [one for one in self._world.storages if one["tenant"] == request.tenant]
        filters = {"category": lambda one, value: bool(one["category"] == value)}
        size = self._world.guesses.page_size
        reply = list_items(request, storages, _show, filters, size)
        if self._world.guesses.storages_in_pages:
            return reply
        category = request.parameter("category")
        return Reply(200, [_show(one) for one in storages if category in {None, one["category"]}])

    def read(self, request: Request, key: str) -> Reply:
        """Its configuration only `with_configuration` [S] [O]."""
        for storage in self._world.storages:
            if str(storage["id"]) == key and storage["tenant"] == request.tenant:
                answer = _show(storage)
                if (request.parameter("with_configuration") or "").lower() == "true":
                    answer["configuration"] = self._show_configuration(storage)
                return Reply(200, answer)
        raise Refusal(404, {"detail": request.say("not found")})

    def create(self, request: Request) -> Reply:
        body = request.json()
        errors: dict[str, Any] = {}
        for name in ("name", "provider"):
            if not isinstance(body.get(name), str) or not body[name]:
                errors[name] = [request.say("required")]
        if body.get("category", "internal") not in {"internal", "external"}:
            errors["category"] = [request.say("choice", body["category"])]
        if not isinstance(body.get("configuration"), dict):
            errors["configuration"] = [request.say("required")]
        elif key_errors := self._key_errors(request, body):
            errors["configuration"] = key_errors
        if errors:
            raise Refusal(400, errors)
        names = ("provider", "category", "configuration")
        fields = {name: body[name] for name in names if name in body}
        storage = self._world.add_storage(body["name"], **fields)
        answer = {**_show(storage), "configuration": self._show_configuration(storage)}
        return Reply(self._world.guesses.created_status, answer)

    def _show_configuration(self, storage: Item) -> Item:
        """In plain under the regime `none`, else without its credentials [Sm]."""
        configuration: Item = storage["configuration"]
        if storage["credential_regime"] == "none":
            return dict(configuration)
        *_, secret = _KEYS.get(storage["provider"], (set(), set(), set()))
        others = {key: value for key, value in configuration.items() if key not in secret}
        if self._world.guesses.withheld_secrets == "left out":
            return others
        return others | {key: "" for key in configuration if key in secret}

    def _key_errors(self, request: Request, body: Mapping[str, Any]) -> dict[str, list[str]]:
        """Whether the server refuses wrong keys on write is [G]."""
        keys = _KEYS.get(body.get("provider", ""))
        if keys is None or not self._world.guesses.refuses_storage_keys:
            return {}
        needed, others, _ = keys
        present = set(body["configuration"])
        errors = {key: [request.say("required")] for key in sorted(needed - present)}
        unknown = sorted(present - needed - others)
        return errors | {key: [request.say("unknown key")] for key in unknown}


def _show(storage: Item) -> Item:
    names = ("id", "name", "category", "provider", "is_default", "credential_regime")
    return {name: storage[name] for name in names}
