#!/usr/bin/env bash
# protocol/benches/build.sh [runs]: wall time to build the crate of the generated messages alone, beside kafka-protocol, their
# dependencies built before. The two are built in turn; the least of so many runs (3) counts. `pg_kafka` is the whole crate
# with the compiler of schemas and its run, `rustc alone` without these two.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:$HOME/.cargo/bin
runs=${1:-3}
export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/build-bench

# Both as dependencies of one crate, with the versions and the settings of the workspace.
crate=$CARGO_TARGET_DIR/crate
mkdir -p "$crate/src"
: > "$crate/src/lib.rs"
{
  printf '[package]\nname = "build-bench"\nedition = "2024"\n[workspace]\n[dependencies]\nprotocol = { path = "%s" }\n' "$PWD/protocol"
  grep '^kafka-protocol = ' Cargo.toml
} > "$crate/Cargo.toml"
cp Cargo.lock "$crate/Cargo.lock"
lib=$PWD/protocol/src/lib.rs
cd "$crate"

build() { cargo build -q -p "$1" --lib "${profile[@]}"; }
# milliseconds of a build of $1
timed() {
  local start
  start=$(date +%s%N)
  build "$1"
  echo $((($(date +%s%N) - start) / 1000000))
}
least() { sort -n | head -1; }

for name in dev release; do
  profile=(--profile "$name")
  build kafka-protocol
  build protocol
  ours='' alone='' theirs=''
  for _ in $(seq "$runs"); do
    cargo clean -q -p kafka-protocol "${profile[@]}"
    theirs+=$(timed kafka-protocol)$'\n'
    cargo clean -q -p protocol "${profile[@]}"
    ours+=$(timed protocol)$'\n'
    touch "$lib"
    alone+=$(timed protocol)$'\n'
  done
  theirs=$(printf %s "$theirs" | least)
  for line in "pg_kafka:$(printf %s "$ours" | least)" "rustc alone:$(printf %s "$alone" | least)"; do
    awk -v name="$name" -v what="${line%:*}" -v ours="${line#*:}" -v theirs="$theirs" 'BEGIN {
      printf "%-8s %-12s %7.1f s   kafka-protocol %7.1f s   ratio %.2f\n", name, what, ours / 1000, theirs / 1000, ours / theirs }'
  done
done
