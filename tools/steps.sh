#!/usr/bin/env bash
# steps.sh STEP...: runs make targets one after the other, says which one and how long it took, stops at the first
# that fails.
set -uo pipefail
count=$# index=0 begin=$SECONDS
for step in "$@"; do
  index=$((index + 1)) since=$SECONDS
  echo "── $index/$count $step"
  if ! make --no-print-directory "$step"; then
    echo "── $step FAILED after $((SECONDS - since)) s (repeat it alone: make $step)" >&2
    exit 1
  fi
  echo "── $index/$count $step: ok, $((SECONDS - since)) s"
done
echo "── all $count steps ok, $((SECONDS - begin)) s"
