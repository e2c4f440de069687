#!/usr/bin/env bash
# A chat member talks under Exo; tail, which has no socket at all, prints every line with its place in the order.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
compile chat-c chat
lines=100
mkfifo "$WORK/alice.in"
"$EXO" run --require --socket "$WORK/exod.sock" -g 239.1.2.12:5012 -- \
  "$EXAMPLES/chat-c/bin/chat" 239.1.2.12 5012 alice <>"$WORK/alice.in" >"$WORK/alice.out" 2>"$WORK/alice.err" &
started $!
wait_until "alice has joined" grep -qs joined "$WORK/alice.err"
"$(dirname "$0")/run.sh" "$WORK/exod.sock" 239.1.2.12:5012 "$lines" >"$WORK/tail.out" 2>"$WORK/tail.err" &
started $!
wait_until "tail has joined" grep -qs joined "$WORK/tail.err"
seq -f "line %g" "$lines" >"$WORK/alice.in" &
wait_until "tail has printed every line" has_lines "$WORK/tail.out" "$lines"
# SEQ SOURCE TEXT: the places follow each other, the texts are what alice heard herself.
awk 'NR > 1 && $1 != last + 1 { exit 1 } { last = $1 }' "$WORK/tail.out" || fail "the places in the order have gaps"
diff <(cut -d' ' -f3- "$WORK/tail.out") "$WORK/alice.out" || fail "tail and alice heard different things"
