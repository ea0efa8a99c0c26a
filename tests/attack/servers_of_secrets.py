"""A server that a commit names for secrets, and what names it: settings, a file of sops, a storage."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from threading import Thread

import sops

VAULT = "vault: {path: kv/x, key: a}"
SOPS = "sops: {file: secrets/x.json, key: a}"
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: b}
spec:
  name: b
  provider: amazon_s3
  category: external
  configuration: {access_key_id: x, bucket_name: b, secret_access_key: {valueFrom: {SOURCE}}}
"""
ENCRYPTED = (
    "ENC[AES256_GCM,data:XkGG,iv:Vyig4COIAOukpZIeG/Fp+i3/4pTqXnHqfnbBMzowt+Q=,"
    "tag:O5UY0s+v3T2X1gKd4uldYg==,type:str]"
)
TIME = "2024-01-01T00:00:00Z"


class Listener:
    """A server of theirs: how often somebody connected."""

    def __init__(self) -> None:
        self.clients = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.clients += 1
            client.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


def encrypt_for(section: str, key: Mapping[str, str]) -> str:
    """A file of sops that looks encrypted with one key."""
    entry = {**key, "created_at": TIME, "enc": "vault:v1:AAAA"}
    metadata = {"lastmodified": TIME, "mac": ENCRYPTED, "version": "3.9.0", section: [entry]}
    return json.dumps({"a": ENCRYPTED, "sops": metadata})


def search_path_with_sops(folder: Path) -> str:
    """A PATH that has sops, too, by a link in a new folder."""
    (folder / "bin").mkdir()
    (folder / "bin" / "sops").symlink_to(sops.find_binary())
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
