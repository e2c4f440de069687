#!/usr/bin/env bash
# run.sh SOCKET GROUP:PORT [COUNT]: prints what a group of a running monitor carries.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
"$BUILT/exo-example-tail" "$@"
