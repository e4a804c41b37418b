#!/usr/bin/env bash
# protocol/benches/instructions.sh [pattern]: counts the instructions of every measured work by callgrind, per execution and
# without what comes before the first one, and prints one table, ours beside kafka-protocol's. Allocations stand beside them.
# Counts do not depend on how busy the machine is. Needs valgrind (Debian: apt-get install valgrind).
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:$HOME/.cargo/bin
command -v valgrind > /dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
# the path of a bench's program, built
program() {
  cargo bench --locked -q -p protocol --bench "$1" --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}
bench=$(program instructions)
allocations=$($(program allocations))

# instructions of the work $1 done $2 times
count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" "$1" "$2" 2>&1 |
    awk '/Collected/ { print $NF; found = 1 } END { exit !found }'
}

few=5 many=25
per_run() { echo $((($(count "$1" $many) - $(count "$1" $few)) / (many - few))); }

printf '%-56s %12s %14s %7s %14s\n' 'instructions' 'pg_kafka' 'kafka-protocol' 'ratio' 'allocations'
"$bench" | grep -e "${1:-}" | sed -n 's|/pg_kafka$||p' | while IFS= read -r work; do
  ours=$(per_run "$work/pg_kafka") theirs=$(per_run "$work/kafka-protocol")
  allocated() { awk -F '\t' -v work="$work/$1" '$1 == work { print $2 }' <<< "$allocations"; }
  awk -v work="$work" -v ours="$ours" -v theirs="$theirs" -v a="$(allocated pg_kafka)" -v b="$(allocated kafka-protocol)" \
    'BEGIN { printf "%-56s %12d %14d %7.2f %6d %7d\n", work, ours, theirs, ours / theirs, a, b }'
done
