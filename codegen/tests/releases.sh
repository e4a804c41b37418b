#!/usr/bin/env bash
# codegen/tests/releases.sh: writes codegen/tests/releases/ anew from Kafka's own jars, downloaded by Maven. The texts hold
# facts only, in the canonical form: of each release, the files that differ from those of the release before.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C PATH=$PATH:$HOME/.cargo/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/before"
for release in 3.7.2 3.9.2 4.0.2 4.2.2 4.3.1 4.4.0; do
  .ci/kafka-clients "$release"
  now=$work/$release
  cargo run --locked -q -p codegen -- import --out "$now" "target/kafka-clients/kafka-clients-$release.jar" > /dev/null
  for file in "$work"/before/*.json; do
    name=$(basename "$file")
    [ -e "$now/$name" ] || [ "$name" = '*.json' ] || echo "// gone $name"
  done > "codegen/tests/releases/$release.txt"
  for file in "$now"/*.json; do
    name=$(basename "$file")
    cmp -s "$file" "$work/before/$name" || { echo "// file $name"; cat "$file"; }
  done >> "codegen/tests/releases/$release.txt"
  rm -r "$work/before" && mv "$now" "$work/before"
done
git status --short -- codegen/tests/releases
