#!/usr/bin/env bash
# Runs every example's test in a network of its own, each with a deadline. Prints one line per example.
set -uo pipefail
cd "$(dirname "$0")"
if [ "${1:-}" != --inside ]; then exec ../tools/own-network.sh "$PWD/test.sh" --inside "$@"; fi
shift
failed=0
for test in "${@:-*/test.sh}"; do
  # unquoted on purpose: without arguments it is a pattern
  for script in $test; do
    log=$(mktemp)
    if timeout --kill-after=10 120 bash "$script" >"$log" 2>&1; then
      echo "ok      ${script%/test.sh}"
    else
      echo "FAILED  ${script%/test.sh} (exit $?; the last lines follow; repeat with: examples/test.sh $script)"
      tail -n 20 "$log" | sed 's/^/        /'
      failed=1
    fi
    rm -f "$log"
  done
done
exit $failed
