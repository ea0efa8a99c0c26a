#!/usr/bin/env bash
# Applies this folder to the embedded backend: once with work to do, once with none.
set -euo pipefail
cd "$(dirname "$0")"
tool="${BIN:+$BIN/}synapse-apply" # BIN is the folder of the command, when it is not on PATH
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp -R . "$work/quickstart"
cd "$work/quickstart"
rm -rf .synapse-apply
set -a
. ./example.env
set +a

echo '$ synapse-apply validate'
"$tool" validate
echo
echo '$ synapse-apply apply --target embedded --auto-approve'
"$tool" apply --target embedded --auto-approve
echo
echo '$ synapse-apply plan --target embedded'
"$tool" plan --target embedded
