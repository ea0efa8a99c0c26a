"""Packages that the platform would refuse, or of which it ignores a part: files and findings.

Each row is a name, the files that differ from a good package (None takes one away), and what must
be found: the severity for the platform, the file, the line and the rule.
"""

from __future__ import annotations

from typing import NamedTuple

CONFIG = """\
name: Yolo
code: yolo
version: 1.2.0
category: neural_net
description: Finds things
data_type: image
actions:
  train:
    entrypoint: plugin.train:TrainAction
    method: job
"""
GOOD = {
    "config.yaml": CONFIG,
    "requirements.txt": "numpy==2.1.0\n",
    "plugin/__init__.py": "",
    "plugin/train.py": "import numpy\n\n\nclass TrainAction:\n    pass\n",
}
GITHUB = "ghp_" + "Ab3dE6gH" * 4 + "Zz90"
AWS = "AKIA" + "IOSFODNN7RX2MPLE"
RANDOM = "q8fj2kd9s0a1l3k4j5h6"
SECRETS = (GITHUB, AWS, RANDOM, "s3cretpw9")


class Bad(NamedTuple):
    name: str
    files: dict[str, str | None]
    findings: tuple[str, ...]


def config(*changes: tuple[str, str], more: str = "") -> dict[str, str | None]:
    """A config.yaml with some of its text replaced, and more of it at the end."""
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return {"config.yaml": text + more}


def line(old: str, new: str, finding: str) -> tuple[dict[str, str | None], tuple[str, ...]]:
    return config((old, new)), (finding,)


def more(text: str, *findings: str) -> tuple[dict[str, str | None], tuple[str, ...]]:
    return config(more=text), findings


_C = "config.yaml"
BAD = [
    Bad(name, *found)
    for name, found in {
        "an unquoted version": line("1.2.0", "1.0", f"error {_C}:3 version"),
        "a version of one number": line("1.2.0", "1", f"error {_C}:3 version"),
        "an empty version": line("version: 1.2.0", "version:", f"error {_C}:3 empty-value"),
        "a version of two parts": line("1.2.0", '"1.0"', f"warning {_C}:3 version-form"),
        "a version that is a date": (
            config(("1.2.0", "2026-11-26")),
            (f"error {_C}:3 yaml-1.1", f"warning {_C}:3 version-form"),
        ),
        "an unquoted name": line("name: Yolo", "name: 8", f"error {_C}:1 name"),
        "no name": line("name: Yolo\n", "", f"error {_C}:1 name"),
        "an unquoted code": line("code: yolo", "code: 8", f"error {_C}:2 code"),
        "no code": line("code: yolo\n", "", f"error {_C}:1 code"),
        "a name that is a boolean to YAML 1.1": line("Yolo", "On", f"error {_C}:1 yaml-1.1"),
        "an empty description": line(" Finds things", "", f"error {_C}:5 empty-value"),
        "a description that is a list": line("Finds things", "[a]", f"error {_C}:5 text"),
        "a category of its own": line("neural_net", "detection", f"error {_C}:4 category"),
        "the category converter": line(
            "neural_net", "converter", f"warning {_C}:4 category-converter"
        ),
        "a neural_net without a data type": line(
            "data_type: image\n", "", f"error {_C}:1 data-type-needed"
        ),
        "a neural_net with an empty data type": line(
            "data_type: image", "data_type:", f"error {_C}:6 data-type-needed"
        ),
        "a data type that is none": line("image", "time_series", f"error {_C}:6 data-type"),
        "another package manager": more(
            "package_manager: poetry\n", f"error {_C}:11 package-manager"
        ),
        "options that are a text": more(
            "package_manager_options: -U\n", f"error {_C}:11 shape"
        ),
        "tags that are a text": more("tags: vision\n", f"error {_C}:11 shape"),
        "tasks without a value": more("tasks:\n", f"error {_C}:11 empty-value"),
        "an environment that is a list": more("env: [A=1]\n", f"error {_C}:11 shape"),
        "requires that is a text": more('requires: ">=3"\n', f"error {_C}:11 shape"),
        "an unquoted Python version": more(
            "requires:\n  python: 3.12\n", f"error {_C}:12 requires"
        ),
        "no specifier": more("requires:\n  sdk: newest\n", f"error {_C}:12 specifier"),
        "a key of requires that is none": more(
            "requires:\n  pyhton: '>=3.10'\n", f"note {_C}:12 unknown-key"
        ),
        "an unquoted dependency": more("dependencies:\n  sam: 1.0\n", f"error {_C}:12 dependencies"),
        "a dependency without a value": more(
            "dependencies:\n  sam:\n", f"error {_C}:12 dependencies"
        ),
        "a dependency of no specifier": more(
            "dependencies: {sam: '=>1'}\n", f"error {_C}:11 specifier"
        ),
        "a plugin that needs itself": more(
            "dependencies: {yolo: '>=1'}\n", f"error {_C}:11 dependency-itself"
        ),
        "data types that are none": more(
            "supported_data_type: [image, images]\n", f"error {_C}:11 supported-data-types"
        ),
        "tools of no category": more(
            "supported_annotation_tools:\n  images: [polygon]\n",
            f"error {_C}:12 annotation-tools",
        ),
        "tools that are none": more(
            "supported_annotation_tools:\n  image:\n    - bbox\n",
            f"error {_C}:13 annotation-tools",
        ),
        "the guide's annotation category": more(
            "annotation_category: object_detection\n", f"error {_C}:11 annotation-category"
        ),
        "an annotation type that is none": more(
            "annotation_type: box\n", f"error {_C}:11 annotation-type"
        ),
        "a smart tool that is none": more("smart_tool: manual\n", f"error {_C}:11 smart-tool"),
        "smart_tool_type": more(
            "smart_tool_type: interactive\n", f"note {_C}:11 smart-tool-type"
        ),
        "a variant that is a number": more("variant: 2\n", f"error {_C}:11 text"),
        "a key with a slip of the pen": more("data_typ: image\n", f"note {_C}:11 unknown-key"),
        "an action as text": more(
            "  test: plugin.train:TrainAction\n", f"error {_C}:11 action-text"
        ),
        "a method that is none": line("method: job", "method: cron", f"error {_C}:10 method"),
        "an empty method": line("method: job", "method:", f"error {_C}:10 empty-value"),
        "options of serving that are a text": line(
            "method: job", "serve_options: fast", f"error {_C}:10 action"
        ),
        "actions that are a list": (
            config((CONFIG[CONFIG.index("actions:"):], "actions: [train]\n")),
            (f"error {_C}:7 shape",),
        ),
        "no entrypoint": line(
            "    entrypoint: plugin.train:TrainAction\n", "", f"warning {_C}:8 entrypoint-none"
        ),
        "an entrypoint that is a path": line(
            "plugin.train:TrainAction", "plugin/train.py", f"error {_C}:9 entrypoint-form"
        ),
        "an entrypoint to no file": line(
            "plugin.train:", "plugin.trains:", f"error {_C}:9 entrypoint-missing"
        ),
        "an entrypoint from elsewhere": line(
            "plugin.train:", "plugins.train:", f"warning {_C}:9 entrypoint-outside"
        ),
        "an entrypoint to no class": line(
            ":TrainAction", ":TrainingAction", f"warning {_C}:9 entrypoint-name"
        ),
        "an entrypoint below env": (
            {**config(("plugin.train", "env.train")), "env/train.py": "class TrainAction: ...\n"},
            (f"error {_C}:9 left-out",),
        ),
        "an import from build": (
            {
                "plugin/train.py": "from plugin.build import make\n\n\nclass TrainAction: ...\n",
                "plugin/build/__init__.py": "make = 1\n",
            },
            ("warning plugin/train.py:1 import-left-out",),
        ),
        "code that only the platform's publisher leaves out": (
            {
                "plugin/train.py": "from .dist import make\n\n\nclass TrainAction: ...\n",
                "plugin/dist/__init__.py": "make = 1\n",
                ".synapseignore": "!dist/\n",
            },
            ("warning plugin/train.py:1 left-out-elsewhere",),
        ),
        "a port that is none": more(
            "container:\n  exposed_port: 70000\n", f"error {_C}:12 container"
        ),
        "less than no processor": more(
            "container:\n  resources: {gpu: -1}\n", f"error {_C}:12 container"
        ),
        "a health check without a pause": more(
            "container:\n  healthcheck:\n    interval_seconds: 0\n", f"error {_C}:13 container"
        ),
        "a container without a Dockerfile": more(
            "container: {enabled: true}\n", f"error {_C}:11 dockerfile"
        ),
        "a code server with the container's Dockerfile": (
            {
                **config(
                    more="container: {enabled: true, dockerfile: Dockerfile}\n"
                    "code_server: {enabled: true, dockerfile: Dockerfile}\n"
                ),
                "Dockerfile": "FROM scratch\n",
            },
            (f"error {_C}:12 dockerfile",),
        ),
        "a Dockerfile that is not there": more(
            "container: {enabled: true, dockerfile: docker/Dockerfile}\n",
            f"warning {_C}:11 dockerfile-missing",
        ),
        "synapse.yaml alone": (
            {"config.yaml": None, "synapse.yaml": CONFIG},
            ("warning synapse.yaml:1 synapse-yaml",),
        ),
        "a synapse.yaml beside": (
            {"synapse.yaml": CONFIG}, ("note synapse.yaml:1 two-configs",)
        ),
        "a config.yaml below": (
            {"config.yaml": None, "plugin/config.yaml": CONFIG}, ("warning yolo:1 no-config",)
        ),
        "an empty config.yaml": ({"config.yaml": "# later\n"}, (f"error {_C}:1 unreadable-config",)),
        "a requirement without a version": (
            {"requirements.txt": "# what it needs\nnumpy>=2\n"},
            ("note requirements.txt:2 unpinned",),
        ),
        "a token in env": more(f"env:\n  MODE: fast\n  HUB: {GITHUB}\n", f"error {_C}:13 secret"),
        "a key in the runtime's environment": more(
            f"runtime_env:\n  env_vars: {{SERVICE_TOKEN: {RANDOM}}}\n",
            f"warning {_C}:12 secret-like",
        ),
        "a folded key in env": more(
            f"env:\n  API_KEY: >-\n    {RANDOM}\n", f"warning {_C}:12 secret-like"
        ),
        "a key in code": (
            {"plugin/train.py": f'ID = 1\nKEY = "{AWS}"\n\n\nclass TrainAction: ...\n'},
            ("error plugin/train.py:2 secret",),
        ),
        "a private key": (
            {"plugin/id.pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"},
            ("error plugin/id.pem:1 secret",),
        ),
        "a password in a URL": (
            {"plugin/db.py": 'URL = "postgres://bob:s3cretpw9@db/x"\n'},
            ("warning plugin/db.py:1 secret-like",),
        ),
    }.items()
]  # fmt: skip
