"""Manifests that the vendor's v1 can hold whole."""

from __future__ import annotations

PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec:
  name: Yolo
  code: yolo
  description: Finds things
  category: upload
"""
RELEASE = """\
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: yolo
  version: "1.0.0"
  source: ./plugins/yolo
"""
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw-data}
spec:
  name: Raw data
  provider: file_system
  category: internal
  configuration: {location: /data/raw}
"""
