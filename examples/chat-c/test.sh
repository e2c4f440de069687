#!/usr/bin/env bash
# Three members talk at once; their transcripts must be the same and whole.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
compile chat-c chat
lines=200
for name in alice bob carol; do
  mkfifo "$WORK/$name.in"
  # <> keeps the pipe open, so that nobody's input ends before everybody has joined.
  "$EXO" run --require --socket "$WORK/exod.sock" -g 239.1.2.10:5010 -- \
    "$EXAMPLES/chat-c/bin/chat" 239.1.2.10 5010 "$name" \
    <>"$WORK/$name.in" >"$WORK/$name.out" 2>"$WORK/$name.err" &
  started $!
done
for name in alice bob carol; do
  wait_until "$name has joined" grep -qs joined "$WORK/$name.err"
done
for name in alice bob carol; do
  seq -f "line %g" "$lines" >"$WORK/$name.in" &
done
for name in alice bob carol; do
  wait_until "$name has heard every line" has_lines "$WORK/$name.out" $((3 * lines))
done
same_files "$WORK"/{alice,bob,carol}.out
for name in alice bob carol; do
  diff <(grep "^$name:" "$WORK/bob.out") <(seq -f "$name: line %g" "$lines") ||
    fail "the lines of $name are not in the order in which they were said"
done
