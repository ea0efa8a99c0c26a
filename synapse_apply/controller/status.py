"""What `controller status` shows: the targets as the API lists them, of a store or over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from synapse_apply.controller.delivery import Receiver, UndeliveredError, parse_json_answer_or_none
from synapse_apply.controller.page.api import MAX_ITEMS, list_targets_as_json
from synapse_apply.controller.rows import TargetCondition
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.values import Sensitive

_TARGETS_PATH = "/api/v1/targets"


class ControllerUnavailable(SynapseApplyError):
    """A controller that does not answer, or not as a controller does."""


def read_stored_targets(data: Path) -> JsonDocument:
    """All targets of a controller's store as one TargetList of its API."""
    with closing(SqliteControllerStore(data)) as store:
        return _read_all_pages(lambda parameters: list_targets_as_json(store, parameters))


def fetch_targets(url: str) -> JsonDocument:
    """All targets of the controller at a URL as one TargetList; ControllerUnavailable."""
    receiver = Receiver("The controller", Sensitive(url), what_is_named="--url")
    return _read_all_pages(lambda parameters: _fetch_page(receiver, url, parameters))


def _read_all_pages(
    read_page: Callable[[Mapping[str, str]], dict[str, Any]],
) -> JsonDocument:
    """The pages of a list as one; a target may be missing where it changed meanwhile."""
    document = read_page({"offset": "0", "limit": f"{MAX_ITEMS}"})
    items = list(document["items"])
    while len(items) < document["total"]:
        page = read_page({"offset": f"{len(items)}", "limit": f"{MAX_ITEMS}"})["items"]
        if not page:
            break
        items.extend(page)
    return {**document, "items": items}


def _fetch_page(receiver: Receiver, url: str, parameters: Mapping[str, str]) -> JsonDocument:
    try:
        answer = receiver.send_json("GET", f"{_TARGETS_PATH}?{urlencode(parameters)}", {})
    except UndeliveredError as problem:
        finding = problem.result.finding
        raise ControllerUnavailable(*([finding] if finding else [])) from None
    document: Any = parse_json_answer_or_none(answer) if answer.status == 200 else None
    if not _is_target_list(document):
        raise ControllerUnavailable.from_summary(
            "The controller did not answer as one",
            f"{url} answered {answer.status}, and not with a list of targets.",
            "Check the address: another server may answer there.",
        )
    target_list: dict[str, Any] = document
    return target_list


def _is_target_list(document: Any) -> bool:
    """Whether a document has all that is printed of it, in the right types."""
    if not isinstance(document, dict) or not isinstance(document.get("total"), int):
        return False
    states = {condition.value for condition in TargetCondition}
    items = document.get("items")
    return isinstance(items, list) and all(
        isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and item.get("state") in states
        and isinstance(item.get("counts"), dict)
        and all(type(count) is int for count in item["counts"].values())
        and _has_valid_finding(item)
        and all(
            item.get(key) is None or isinstance(item[key], str)
            for key in ("wanted_commit", "looked_at")
        )
        for item in items
    )


def _has_valid_finding(item: Mapping[str, Any]) -> bool:
    """Whether an item has a finding that can be printed, or none."""
    finding = item.get("finding")
    return finding is None or (
        isinstance(finding, dict) and isinstance(finding.get("summary"), str)
    )
