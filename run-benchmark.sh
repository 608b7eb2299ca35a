#!/usr/bin/env bash
# Runs the benchmark's grid and appends one row per run to a CSV file; see --help.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'HELP'
Usage: bash run-benchmark.sh [--quick] [--engine ENGINE] [--output FILE] [ARGUMENT]...

Builds the benchmark and runs its grid: both systems (default, safe_actor), five delays, each
plain, with --failure, with --large and with both; 40 runs, about 90 minutes. Each run appends
a row to the CSV file. At the end the plots are drawn beside it and a table of the run times
relative to safe_actor without failure is printed.

A sweep that was interrupted goes on where it stopped: runs that have a row in the file are
skipped. A run that ended with a wrong state although the right one was promised has a row, too,
but is made again.

  --quick        a grid of under two minutes: delays 50, 20, 10, 5, 2 ms and 4 rounds
  --engine ray   the grid on Ray, with the prototype's method as a third system: 60 runs, about
                 two and a half hours (--quick: a quarter of an hour). In the file of a grid
                 without it, the plots and the table put both engines side by side
  --output FILE  the CSV file (default: results/output-<date>.csv in the project's directory, or
                 output-<date>-quick.csv)
  --help         this text
  ARGUMENT       passed to every run, e.g. --durability=process or --num-actors=10; the last of
                 two equal flags counts. Use a file of its own for each set of arguments, and for
                 --quick: what was run with others counts as done, too

The environment variable BENCH names a binary to use instead of building one.
HELP
}

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 2
}

delays=(1000 500 100 50 10)
engine=local
calls=380
kind=
unset output
arguments=()
while (($# > 0)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --quick)
            delays=(50 20 10 5 2)
            calls=76
            arguments+=(--num-rounds=4)
            kind=-quick
            ;;
        --output)
            (($# >= 2)) || fail "--output: expected the name of a CSV file"
            output=$2
            shift
            ;;
        --output=*) output=${1#--output=} ;;
        --engine)
            (($# >= 2)) || fail "--engine: expected local or ray"
            engine=$2
            shift
            ;;
        --engine=*) engine=${1#--engine=} ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
output=${output-$root/results/output-$(date +%F)$kind.csv}
[[ -n $output ]] || fail "--output: expected the name of a CSV file"
case $engine in
    local) systems=(default safe_actor) ;;
    ray) systems=(default safe_actor prototype) ;;
    *) fail "--engine=$engine: expected local or ray" ;;
esac

bench=${BENCH:-}
if [[ -z $bench ]]; then
    say "building …"
    cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" \
        -p bench-persistent-actor
    target=$(cargo metadata --no-deps --format-version 1 --manifest-path "$root/Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    bench=$target/release/bench-persistent-actor
fi

# One line per run: system, large, delay, failure, as in the CSV file.
grid() {
    local system delay variant
    for system in "${systems[@]}"; do
        for delay in "${delays[@]}"; do
            for variant in 'False False' 'False True' 'True False' 'True True'; do
                printf '%s %s %s %s\n' "$system" "${variant% *}" "$delay" "${variant#* }"
            done
        done
    done
}

# Whether the CSV file has a row of this run that counts; without a column "engine", all rows are
# local. A run that ended with a wrong state is made again, unless that was to be expected: only
# safe_actor promises the right one in spite of failure.
is_done() {
    [[ -f $output ]] && awk -F, -v run="$1,$2,$3,$4,$engine" '
        { sub(/\r$/, "") }
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
        {
            engine = "engine" in column ? $column["engine"] : "local"
            right = !("verified" in column) || $column["verified"] == "True"
            expected = $5 == "True" && $1 != "safe_actor"
        }
        $1 "," $2 "," $3 "," $5 "," engine == run && (right || expected) { found = 1 }
        END { exit !found }' "$output"
}

# How long a run should take, in milliseconds: its delays, its start, and for 10 MiB of state
# the time to write it.
estimate() {
    local large=$1 delay=$2
    local ms=$((calls * delay + 300))
    if [[ $large == True ]]; then ms=$((ms + 2000 + calls * 10)); fi
    if [[ $engine == ray ]]; then
        ms=$((ms + 12000))
        if [[ $large == True ]]; then ms=$((ms + calls * 40)); fi
    fi
    printf '%s' "$ms"
}

duration() {
    local seconds=$(($1 / 1000))
    if ((seconds >= 60)); then
        printf '%d min %02d s' $((seconds / 60)) $((seconds % 60))
    else
        printf '%d s' "$seconds"
    fi
}

now_ms() { date +%s%3N; }

total=0
skipped=0
left_ms=0
todo=()
while read -r system large delay failure; do
    total=$((total + 1))
    if is_done "$system" "$large" "$delay" "$failure"; then
        skipped=$((skipped + 1))
    else
        todo+=("$system $large $delay $failure")
        left_ms=$((left_ms + $(estimate "$large" "$delay")))
    fi
done < <(grid)
if ((skipped > 0)); then say "$output has $skipped of $total runs already"; fi

trap 'say "interrupted; the same command goes on with the next run"; exit 130' INT
trap 'say "stopped; the same command goes on with the next run"; exit 143' TERM

number=$skipped
begin_ms=$(now_ms)
done_ms=0
for run in ${todo[@]+"${todo[@]}"}; do
    read -r system large delay failure <<<"$run"
    flags=(--delay-ms="$delay" --output="$output")
    text="$system, delay $delay ms"
    if [[ $engine != local ]]; then flags+=(--engine="$engine") text="$system on $engine, delay $delay ms"; fi
    if [[ $system == safe_actor ]]; then flags+=(--safe-state); fi
    if [[ $system == prototype ]]; then flags+=(--prototype); fi
    if [[ $large == True ]]; then flags+=(--large) text+=", large"; fi
    if [[ $failure == True ]]; then flags+=(--failure) text+=", failure"; fi
    number=$((number + 1))
    # What is left, corrected by how the estimates of the runs so far came out.
    eta_ms=$left_ms
    if ((done_ms > 0)); then eta_ms=$((left_ms * ($(now_ms) - begin_ms) / done_ms)); fi
    say "[$number/$total] $text (about $(duration "$eta_ms") left)"
    code=0
    "$bench" "${flags[@]}" ${arguments[@]+"${arguments[@]}"} || code=$?
    if ((code != 0)); then
        say "error: the run failed with exit code $code; the same command tries it again"
        exit "$code"
    fi
    run_ms=$(estimate "$large" "$delay")
    left_ms=$((left_ms - run_ms))
    done_ms=$((done_ms + run_ms))
done

say "all $total runs are in $output"
"$bench" plot "$output"
"$bench" table "$output"
