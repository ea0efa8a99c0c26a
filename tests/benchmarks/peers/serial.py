"""What a user would write first: read the manifests, ask for each object, send what differs.

`serial.py check|apply URL KIND MANIFESTS IDS`; IDS is a JSON file of names and ids, written anew
after an apply. No validation, no state, no crash safety. Prints how many objects differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import requests
import yaml


def declared(folder: str) -> list[dict[str, Any]]:
    """The spec of every document."""
    found = []
    for path in sorted(Path(folder).glob("*.yaml")):
        found += [one["spec"] for one in yaml.load_all(path.read_text(), yaml.CSafeLoader)]
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


def main(verb: str, url: str, folder: str, ids: Path) -> int:
    """Check or apply every document, one after the other."""
    known = json.loads(ids.read_text()) if ids.exists() else {}
    session = requests.Session()
    session.headers["Synapse-Access-Token"] = "Token bench"
    changed = 0
    for spec in declared(folder):
        found, live = known.get(spec["name"]), None
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
    _, verb, url, kind, folder, ids = sys.argv
    print(main(verb, f"{url}/{kind}", folder, Path(ids)))
