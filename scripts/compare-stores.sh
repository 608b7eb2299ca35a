#!/usr/bin/env bash
# Measures the core store side by side with other stores and with what the disk allows.
# All arguments go to the benchmark: scripts/compare-stores.sh --help
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
manifest=$root/benches/store-comparison/Cargo.toml

features=()
if echo 'int main(void) { return 0; }' | cc -x c - -lrocksdb -o /dev/null 2>/dev/null; then
    features=(--features rocksdb)
else
    echo "No RocksDB library to link with (Debian: librocksdb-dev); it is left out." >&2
fi

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/store-comparison}
exec cargo run --quiet --release --manifest-path "$manifest" "${features[@]}" -- "$@"
