#!/usr/bin/env bash
# Prints the path of a Chromium, installed from Debian where there is none and that is permitted.
set -euo pipefail

found() {
  local name
  for name in ${CHROMIUM:-} chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" && return
  done
  return 1
}

found && exit
if command -v apt-get >/dev/null; then
  as_root=()
  if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
  export DEBIAN_FRONTEND=noninteractive
  echo "Installing chromium (once) ..." >&2
  {
    "${as_root[@]}" apt-get update -qq || true
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium || true
  } >&2
fi
found && exit
echo "There is no Chromium here, and it could not be installed: the HTML report is NOT tested." >&2
echo "Install the package chromium, or set CHROMIUM to the path of a Chromium or Chrome." >&2
exit 1
