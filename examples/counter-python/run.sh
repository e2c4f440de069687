#!/usr/bin/env bash
# Starts three replicas under Exo, gives each its own commands at the same moment, prints the three numbers.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
commands=${1:-500}
for replica in 1 2 3; do
  mkfifo "$WORK/$replica.in"
  "$EXO" run --require --socket "$WORK/exod.sock" -g 239.1.2.11:5011 -- \
    python3 "$EXAMPLES/counter-python/counter.py" 239.1.2.11 5011 "replica $replica" $((3 * commands)) \
    <>"$WORK/$replica.in" >"$WORK/$replica.out" 2>"$WORK/$replica.err" &
  started $!
done
for replica in 1 2 3; do
  wait_until "replica $replica has joined" grep -qs joined "$WORK/$replica.err"
done
for replica in 1 2 3; do
  awk -v seed="$replica$$" -v commands="$commands" 'BEGIN {
    srand(seed)
    for (i = 0; i < commands; i++) print (rand() < 0.5 ? "add" : "times"), 1 + int(rand() * 1000)
  }' >"$WORK/$replica.in" &
done
for replica in 1 2 3; do
  wait_until "replica $replica has a number" has_lines "$WORK/$replica.out" 1
  echo "$replica: $(cat "$WORK/$replica.out")"
done
