#!/usr/bin/env bash
# Makes a Git repository of this project, a backend, and a controller that follows the one and keeps
# the other like it, all on loopback. `./start.sh FOLDER` keeps them in that folder.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
tool="${BIN:+$BIN/}synapse-apply" # BIN is the folder of the command, when it is not on PATH
work="${1:-$(mktemp -d)}"
mkdir -p "$work"
cd "$work"
backend=
end() {
  [ -z "$backend" ] || kill "$backend" 2>/dev/null || true
  [ -n "${keep:-}" ] || rm -rf "$work"
}
keep="${1:-}"
trap end EXIT
set -a
. "$here/example.env"
ACME_STATE_URL="git:file://$PWD/acme.git?pace=0" # the state, in the repository itself
set +a

"$tool" emulator --data "$work/backend" --port 8642 --token "$ACME_SYNAPSE_TOKEN" >backend.log 2>&1 &
backend=$!
until grep -q '^listening on' backend.log; do
  kill -0 "$backend" || { cat backend.log; exit 1; }
  sleep 0.1
done

if [ ! -d acme.git ]; then
  git init --quiet --bare --initial-branch main acme.git
  git clone --quiet acme.git checkout 2>/dev/null
  cp -R "$here/synapse-apply.yaml" "$here/manifests" checkout/
  git -C checkout add .
  git -C checkout -c user.name=example -c user.email=example@acme.example \
    commit --quiet -m "Declare the storage and the plugin of dev"
  git -C checkout push --quiet origin HEAD:main
  # A state is made by a person, once: a controller never takes a lost one for a new one.
  "$tool" state init -C checkout -t dev >setup.log 2>&1
fi
cp "$here/controller.yaml" .

echo "The page: http://127.0.0.1:8641"
echo "Commit in $work/checkout and push; Ctrl-C ends all of it."
"$tool" controller run controller.yaml --data data
