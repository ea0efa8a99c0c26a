"""The texts of the demo: its project, its manifests in three commits, its controller.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from synapse_apply.controller.demo.demo_proxy import SECRET_HEADER, USER, USER_HEADER

TOKEN_VARIABLE = "DEMO_TOKEN"  # noqa: S105 - its name
KEY_VARIABLE = "SYNAPSE_APPLY_STATE_KEY"
PROXY_VARIABLE, OPERATOR_VARIABLE = "DEMO_PROXY_SECRET", "DEMO_OPERATOR_TOKEN"
TARGETS = ("dev", "staging", "prod")
BENCH = "bench"  # of the second source, which nobody has set up

_PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
targets:
{targets}"""
_TARGET = """\
  {name}:
    url: {url}
    token: {{env: DEMO_TOKEN}}
    state: {{url: {states}/{name}.db}}
"""
_PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: image-processing}
spec:
  from: ./plugins/image-processing # name, code and category come from its config.yaml
  version: "1.0.0"
  author: AUTHOR
---
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: image-processing
  changelog: Initial release
  source: ./plugins/image-processing
"""
_RESULTS = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: results}
spec:
  name: Results
  provider: file_system
  category: internal
  configuration: {base_path: /data/results}
"""
_BENCH_RESULTS = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: bench-results}
spec:
  name: Results of the bench
  provider: file_system
  category: internal
  configuration: {base_path: /data/bench}
"""
_ARCHIVE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: archive}
spec:
  name: Archive
  provider: file_system
  CATEGORY: internal
  configuration: {base_path: /data/archive}
"""
_PACKAGE = {
    "plugins/image-processing/config.yaml": """\
name: Image Processing Plugin
code: image-processing
version: 1.0.0
category: export
description: Resizes and converts images
package_manager: pip
actions:
  convert: {entrypoint: plugin.convert.run, method: job}
""",
    "plugins/image-processing/plugin/__init__.py": "",
    "plugins/image-processing/plugin/convert.py": "def run() -> int:\n    return 0\n",
}
_CONTROLLER = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {{name: demo}}
sources:
  acme:
    url: {repository}
    poll: 2s
    may_read: {{env: [DEMO_TOKEN, SYNAPSE_APPLY_STATE_KEY], files: [{states}]}}
    hosts: [{hosts}]
    targets:
      dev: {{mode: auto, hosts: ["{dev_host}"]}}
      staging: {{mode: observe}}
      prod: {{mode: approve, hosts: ["{prod_host}"]}}
  lab:
    url: {repository}
    path: lab
    poll: 2s
    may_read: {{env: [DEMO_TOKEN, SYNAPSE_APPLY_STATE_KEY], files: [{states}]}}
    hosts: [{hosts}]
    targets:
      "*": {{mode: observe}}
defaults: {{interval: 5s, retry: {{first: 2s, most: 5s}}}}
listen: 127.0.0.1:{port}
public_url: {page_url}
access:
  proxy:
    user_header: {user_header}
    secret_header: {secret_header}
    secret: {{env: DEMO_PROXY_SECRET}}
  tokens: {{{user}: {{env: DEMO_OPERATOR_TOKEN}}}}
  may:
    - who: ["proxy:{user}", "token:{user}"]
      do: [read, reconcile, pause, approve]
      targets: ["*"]
"""


def build_texts_of_first_commit(urls: Mapping[str, str], states: Path) -> Mapping[str, str]:
    """Texts by path: a plugin, a release and a storage on three targets; in `lab`, one on another.

    `urls` are the backends of the targets, by their names.
    """
    return {
        "synapse-apply.yaml": _format_project({name: urls[name] for name in TARGETS}, states),
        "manifests/plugin.yaml": _PLUGIN.replace("AUTHOR", "Vision team"),
        "manifests/results.yaml": _RESULTS,
        **_PACKAGE,
        "lab/synapse-apply.yaml": _format_project({BENCH: urls[TARGETS[0]]}, states),
        "lab/manifests/results.yaml": _BENCH_RESULTS,
    }


def _format_project(urls: Mapping[str, str], states: Path) -> str:
    targets = "".join(
        _TARGET.format(name=name, url=url, states=states) for name, url in urls.items()
    )
    return _PROJECT.format(targets=targets)


def build_texts_of_broken_commit() -> Mapping[str, str]:
    """Texts by path: a storage with a mistyped field."""
    return {"manifests/archive.yaml": _ARCHIVE.replace("CATEGORY", "categry")}


def build_texts_of_mending_commit() -> Mapping[str, str]:
    """Texts by path: the storage as it was meant, and a new author of the plugin."""
    return {
        "manifests/archive.yaml": _ARCHIVE.replace("CATEGORY", "category"),
        "manifests/plugin.yaml": _PLUGIN.replace("AUTHOR", "Platform team"),
    }


def format_controller_file(
    repository: Path, states: Path, hosts: Sequence[str], port: int, page_url: str
) -> str:
    """The controller.yaml of the demo; `hosts` are those of the backends, as TARGETS, with ports.

    The controller listens at `port`, and people reach it at `page_url`.
    """
    return _CONTROLLER.format(
        repository=repository,
        states=states,
        hosts=", ".join(f'"{host}"' for host in hosts),
        dev_host=hosts[0],
        prod_host=hosts[-1],
        port=port,
        page_url=page_url,
        user=USER,
        user_header=USER_HEADER,
        secret_header=SECRET_HEADER,
    )
