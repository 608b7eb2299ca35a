#!/usr/bin/env bash
# Measures the local engine and Ray side by side; see --help.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

rows=(local-none local-process local-power ray-default ray-prototype ray-process ray-power)

usage() {
    cat <<HELP
Usage: scripts/compare-engines.sh [--rounds N] [--only ROW]... [--output FILE]

Measures every row on this machine, appends its runs to the CSV file and prints the table of
all runs in it: time per call, kill to next reply, memory, lost and doubled updates. Each row has
four runs: small calls (20 actors), calls of 10 MiB (4 actors), actors killed by SIGKILL at random
moments, and actors killed between commit and reply.

  --rounds N     how often all rows are measured, in turn (default: 3, about twelve minutes)
  --only ROW     only this row; may be given several times. Rows:
                 ${rows[*]}
  --output FILE  the CSV file (default: results/engines-<date>.csv in the project's directory)

Needs a Python with Ray: scripts/python-env.sh makes one, PERSISTENT_ACTOR_PYTHON names another.
The environment variable BENCH names a binary to use instead of building one.
HELP
}

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 2
}

rounds=3
output=$root/results/engines-$(date +%F).csv
only=()
while (($# > 0)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --rounds | --only | --output)
            (($# >= 2)) || fail "$1: expected a value; see --help"
            case $1 in
                --rounds) rounds=$2 ;;
                --only) only+=("$2") ;;
                --output) output=$2 ;;
            esac
            shift
            ;;
        *) fail "unexpected argument '$1'; see --help" ;;
    esac
    shift
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || fail "--rounds=$rounds: expected a whole number from 1"
for row in ${only[@]+"${only[@]}"}; do
    [[ " ${rows[*]} " == *" $row "* ]] || fail "--only=$row: expected one of ${rows[*]}"
done
if ((${#only[@]} > 0)); then rows=("${only[@]}"); fi

bench=${BENCH:-}
if [[ -z $bench ]]; then
    say "building …"
    cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" \
        -p bench-persistent-actor
    target=$(cargo metadata --no-deps --format-version 1 --manifest-path "$root/Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    bench=$target/release/bench-persistent-actor
fi

# The flags of a row.
flags_of() {
    case $1 in
        local-none) ;;
        local-process) echo --safe-state --durability=process ;;
        local-power) echo --safe-state --durability=power ;;
        ray-default) echo --engine=ray ;;
        ray-prototype) echo --engine=ray --prototype ;;
        ray-process) echo --engine=ray --safe-state --durability=process ;;
        ray-power) echo --engine=ray --safe-state --durability=power ;;
    esac
}

trap 'exit 130' INT
trap 'exit 143' TERM

for ((round = 1; round <= rounds; round++)); do
    for row in "${rows[@]}"; do
        say "[$round/$rounds] $row"
        read -ra flags <<<"$(flags_of "$row")"
        run() {
            "$bench" --delay-ms=0 --quiet --seed="$round" --output="$output" \
                ${flags[@]+"${flags[@]}"} "$@" >/dev/null
        }
        run
        run --large --num-actors=4
        run --failure --num-actors=7 --num-actors-kill=5
        run --num-actors=7 --num-rounds=5 --kill-after-commit=3
    done
done
"$bench" engines "$output"
