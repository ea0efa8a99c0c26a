#!/usr/bin/env bash
# Applies this folder to the embedded backend: once with work to do, once with none.
set -euo pipefail
cd "$(dirname "$0")"
tool="${BIN:+$BIN/}synapse-apply"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp -R . "$work/quickstart"
cd "$work/quickstart"
rm -rf .synapse-apply
export RAW_DATA_KEY_ID="${RAW_DATA_KEY_ID:-AKIAQUICKSTART}"

echo '$ synapse-apply apply --target embedded --auto-approve'
"$tool" apply --target embedded --auto-approve
echo
echo '$ synapse-apply plan --target embedded'
"$tool" plan --target embedded
