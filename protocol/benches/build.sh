#!/usr/bin/env bash
# protocol/benches/build.sh [runs]: wall time to build the crate of the generated messages alone, beside kafka-protocol, their
# dependencies built before. The two are built in turn; the least of so many runs (3) counts. `whole` includes the compiling
# and the run of the compiler of schemas, `rustc alone` does not.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:$HOME/.cargo/bin
runs=${1:-3}
export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/build-bench

# Both as dependencies of one crate, with the versions of the workspace and the default profiles of cargo.
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
# wall and CPU time of a build of $1, in seconds
timed() { { TIMEFORMAT='%R %U'; time build "$1"; } 2>&1 | tail -1; }

printf '%-8s %-12s %10s %10s %7s %10s %10s %7s\n' seconds pg_kafka wall theirs ratio CPU theirs ratio
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
  for line in "whole:$ours" "rustc alone:$alone"; do
    { printf 'theirs %s\n' ${theirs// /:}; printf 'ours %s\n' $(printf %s "${line#*:}" | tr ' ' ':'); } |
      awk -v name="$name" -v what="${line%:*}" '
        { split($2, t, ":"); for (i = 1; i <= 2; i++) if (!(($1, i) in least) || t[i] < least[$1, i]) least[$1, i] = t[i] }
        END { printf "%-8s %-12s", name, what
              for (i = 1; i <= 2; i++) printf " %10.1f %10.1f %7.2f", least["ours", i], least["theirs", i], least["ours", i] / least["theirs", i]
              printf "\n" }'
  done
done
