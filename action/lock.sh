#!/usr/bin/env bash
# Writes the locks: every dependency of the command and of its build, pinned as constraints.txt has
# it, with the hashes of all files of that version (any system, any Python from 3.11 on); and those of
# the tools that make a release.
# Usage: lock.sh UV. Run by `make lock`.
set -euo pipefail
uv=$(realpath "$1")
cd "$(dirname "$0")/.."

head='# Written by `make lock`; to be installed with pip install --require-hashes --no-deps -r FILE.'
{
  printf '%s\n' "$head"
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --constraint constraints.txt pyproject.toml - <<< hatchling
} > action/requirements.txt.new
mv action/requirements.txt.new action/requirements.txt
{
  printf '%s\n' "$head"
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --group release \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --constraint constraints.txt
} > release/requirements.txt.new
mv release/requirements.txt.new release/requirements.txt
cp action/requirements.txt examples/gitops/.gitlab/requirements.txt
