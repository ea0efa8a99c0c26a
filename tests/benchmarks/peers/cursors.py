"""The script on the lists of API v2: pages of 200, each named by the one before it.

`cursors.py check|apply|pages URL KINDS MANIFESTS`, of one kind; `pages` reads the list and does nothing more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from serial import declared, differs, urls
from threaded import WORKERS, session_of_many

PAGE = 200


def items(session: requests.Session, url: str) -> Iterator[dict[str, Any]]:
    """Every live object; descriptions are not among what a list has of it."""
    asked: dict[str, Any] = {"per_page": PAGE}
    while True:
        answer = session.get(f"{url}/", params=asked, timeout=60)
        answer.raise_for_status()
        page = answer.json()
        yield from page["data"]
        cursor = page["meta"]["pagination"]["next_cursor"]
        if not cursor:
            return
        asked["cursor"] = cursor


def main(verb: str, url: str, folder: str) -> int:
    """Read the list, then check or apply every document; how many differ."""
    session = session_of_many()
    session.headers["SYNAPSE-ACCESS-TOKEN"] = "bench"
    live = {item["code"]: item for item in items(session, url)}
    if verb == "pages":
        return len(live)
    changed = [spec for _, spec in declared(folder) if differs(spec, live.get(spec["code"]))]

    def send(spec: dict[str, Any]) -> None:
        body = {"name": spec["name"]}
        found = live[spec["code"]]["id"]
        session.patch(f"{url}/{found}/", json=body, timeout=60).raise_for_status()

    if verb == "apply":
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(send, changed))
    return len(changed)


if __name__ == "__main__":
    _, verb, url, kinds, folder = sys.argv[:5]
    (list_url,) = urls(url, kinds).values()
    print(main(verb, list_url, folder))
