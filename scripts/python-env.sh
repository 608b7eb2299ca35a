#!/usr/bin/env bash
# Makes a virtual environment with the Python package, Ray and the tests' tools:
#
#   scripts/python-env.sh [directory]      (default: target/python-env)
#
# Needs Python 3.11 or newer, pip, and a Rust toolchain. Run it again to bring the environment up
# to date. `PYTHON` names the interpreter (default: python3).
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
environment="${1:-$root/target/python-env}"
python="${PYTHON:-python3}"

fail() {
    echo "python-env.sh: $1" >&2
    exit 2
}

command -v "$python" >/dev/null || fail "$python was not found; install Python 3.11 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: Python 3.11 or newer is needed"
command -v cargo >/dev/null || fail "cargo was not found; install Rust: https://rustup.rs"

if [ ! -x "$environment/bin/python" ]; then
    "$python" -m venv "$environment" || fail "cannot make $environment; on Debian: apt-get install python3-venv"
fi
"$environment/bin/python" -m pip install --quiet --upgrade pip
"$environment/bin/python" -m pip install --quiet --upgrade "$root/python[ray,test]"

echo "made $environment" >&2
echo "run the tests with: $environment/bin/python -m pytest $root/python" >&2
command -v redis-server >/dev/null ||
    echo "redis-server is not installed: its tests will be skipped (apt-get install redis-server)" >&2
