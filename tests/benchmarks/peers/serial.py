"""What a user would write first: read the manifests, ask for each object, send what differs.

`serial.py check|apply URL KINDS MANIFESTS IDS`; KINDS are `Kind=path` with commas between them, IDS
is a JSON file of names and ids, written anew after an apply. No validation, no state, no crash safety. Prints how many objects differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import requests
import yaml


def urls(url: str, kinds: str) -> dict[str, str]:
    """The address of each kind's objects."""
    pairs = (pair.split("=") for pair in kinds.split(","))
    return {kind: f"{url}/{path}" for kind, path in pairs}


def declared(folder: str) -> list[tuple[str, dict[str, Any]]]:
    """The kind and the spec of every document."""
    found = []
    for path in sorted(Path(folder).glob("*.yaml")):
        documents = yaml.load_all(path.read_text(), yaml.CSafeLoader)
        found += [(one["kind"], one["spec"]) for one in documents]
    return found


def differs(spec: dict[str, Any], live: dict[str, Any] | None) -> bool:
    """Whether an object is missing or has another value in a declared field."""
    return live is None or any(live.get(name) != value for name, value in spec.items())


def sent(session: requests.Session, url: str, spec: dict[str, Any], found: Any) -> Any:
    """Create an object, or update the one with the id `found`; its id."""
    if found is None:
        answer = session.post(f"{url}/", json=spec, timeout=60)
    else:
        answer = session.put(f"{url}/{found}/", json=spec, timeout=60)
    answer.raise_for_status()
    return answer.json()["id"]


def main(verb: str, urls: dict[str, str], folder: str, ids: Path) -> int:
    """Check or apply every document, one after the other."""
    known = json.loads(ids.read_text()) if ids.exists() else {}
    session = requests.Session()
    session.headers["Synapse-Access-Token"] = "Token bench"
    changed = 0
    for kind, spec in declared(folder):
        found, live, url = known.get(spec["name"]), None, urls[kind]
        if found is not None:
            answer = session.get(f"{url}/{found}/", timeout=60)
            answer.raise_for_status()
            live = answer.json()
        if differs(spec, live):
            changed += 1
            if verb == "apply":
                known[spec["name"]] = sent(session, url, spec, found)
    if verb == "apply":
        ids.write_text(json.dumps(known))
    return changed


if __name__ == "__main__":
    _, verb, url, kinds, folder, ids = sys.argv
    print(main(verb, urls(url, kinds), folder, Path(ids)))
