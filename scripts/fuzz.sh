#!/usr/bin/env bash
# Fuzzes every decoder: scripts/fuzz.sh [SECONDS_PER_TARGET [TARGET...]]
#
# Builds the targets in fuzz/ and runs each (or those named) for SECONDS_PER_TARGET (default 20),
# one after another. Prints a line per target: how often it was executed, and how much memory it
# took. At the first crash, hang (60 s) or use of more than 1 GiB it prints what happened and the
# file with the input that caused it, goes on with the other targets, and in the end exits with 1.
#
# Seeds are in fuzz/corpus/; what a run finds beyond them is kept in target/fuzz/corpus/ for the
# next one. To run one input again: target/fuzz/x86_64-unknown-linux-gnu/release/TARGET FILE.
#
# Needs cargo, a C++ compiler, and cargo-fuzz, which is installed into target/tools if it is not
# there. The stable toolchain is enough: RUSTC_BOOTSTRAP=1 lets it take the options it needs.
# There is no sanitizer, because the decoders have no unsafe code; SANITIZER=address adds one.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
case $seconds in
  '' | *[!0-9]* | 0) echo "fuzz.sh: SECONDS_PER_TARGET is '$seconds'; expected a whole number above 0" >&2; exit 2 ;;
esac
shift || true

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
export RUSTC_BOOTSTRAP=1 PATH="$target_dir/tools/bin:$PATH"
command -v cargo-fuzz >/dev/null ||
  cargo install --quiet --root "$target_dir/tools" --target-dir "$target_dir/tools/build" --locked cargo-fuzz

all=$(cargo fuzz list)
[ $# -gt 0 ] || set -- $all
for target in "$@"; do
  grep -qx -- "$target" <<<"$all" || {
    echo "fuzz.sh: no target is called '$target'; expected one of:" $all >&2
    exit 2
  }
done

triple=$(rustc -vV | sed -n 's/^host: //p')
cargo fuzz build --sanitizer "${SANITIZER:-none}" --target "$triple" --target-dir "$target_dir/fuzz" >&2

failed=0
for target in "$@"; do
  found=$target_dir/fuzz/corpus/$target
  crashes=$target_dir/fuzz/crashes/$target
  log=$target_dir/fuzz/$target.log
  mkdir -p "$found" "$crashes"
  seeds=fuzz/corpus/$target
  [ -d "$seeds" ] || seeds=
  if "$target_dir/fuzz/$triple/release/$target" "$found" $seeds \
    -max_total_time="$seconds" -max_len=4096 -timeout=60 -rss_limit_mb=1024 \
    -artifact_prefix="$crashes/" -print_final_stats=1 >"$log" 2>&1; then
    outcome=ok
  else
    outcome=FAILED
    failed=1
    { grep -a -A3 'panicked at' "$log"; grep -aE '^==[0-9]+== ?ERROR|Test unit written' "$log"; } | cut -c1-500 >&2 || true
  fi
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  printf '%-12s %-6s %12s executions %6s MiB at most\n' \
    "$target" "$outcome" "$(stat number_of_executed_units)" "$(stat peak_rss_mb)"
done
exit $failed
