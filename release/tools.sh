#!/usr/bin/env bash
# Installs what makes a release into build/tools: the libraries and hatchling, and the tools of
# release/requirements.txt, each by hash. For pipelines; `make release-check` has its own environment.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -I -m venv --clear build/tools
for lock in action release; do
  build/tools/bin/python -I -m pip install --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: --require-hashes --requirement "$lock/requirements.txt"
done
