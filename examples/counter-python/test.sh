#!/usr/bin/env bash
# Three replicas, 2,000 commands each: one number.
set -euo pipefail
numbers=$(bash "$(dirname "$0")/run.sh" 2000)
echo "$numbers"
[ "$(echo "$numbers" | wc -l)" = 3 ] || { echo "not every replica has a number" >&2; exit 1; }
[ "$(echo "$numbers" | cut -d' ' -f2 | sort -u | wc -l)" = 1 ] || { echo "the replicas disagree" >&2; exit 1; }
