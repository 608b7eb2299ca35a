#!/usr/bin/env bash
# Makes a virtual environment with the Python package, Ray and the tests' tools:
#
#   scripts/python-env.sh [directory]      (default: target/python-env)
#
# Needs Python 3.11 or newer, pip, and a Rust toolchain. Run it again to bring the environment up
# to date. `PYTHON` names the interpreter (default: the first of python3, python3.11 and newer ones
# that is new enough).
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
environment="${1:-${CARGO_TARGET_DIR:-$root/target}/python-env}"

fail() {
    echo "python-env.sh: $1" >&2
    exit 2
}

is_new_enough() {
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON was not found"
    is_new_enough "$PYTHON" ||
        fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1): Python 3.11 or newer is needed"
    python="$PYTHON"
else
    for python in python3 python3.11 python3.12 python3.13 ""; do
        [ -n "$python" ] || fail "no Python 3.11 or newer was found; install one, or set PYTHON"
        is_new_enough "$python" && break
    done
fi
command -v cargo >/dev/null || fail "cargo was not found; install Rust: https://rustup.rs"

if ! "$environment/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear "$environment" ||
        fail "cannot make $environment; on Debian: apt-get install python3-venv"
fi
started="$(mktemp)"
trap 'rm -f "$started"' EXIT
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade \
    "$root/python[ray,test]"
# What is changed from now on is newer than what is installed.
touch --reference="$started" "$environment/installed"

echo "made $environment" >&2
echo "run the tests with: $environment/bin/python -m pytest $root/python" >&2
for tool in redis-server openssl; do
    command -v "$tool" >/dev/null ||
        echo "$tool is not installed: its tests will be skipped (apt-get install $tool)" >&2
done
