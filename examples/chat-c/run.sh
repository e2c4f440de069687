#!/usr/bin/env bash
# run.sh NAME: compiles the chat and runs it as a member of a group of its own, under Exo.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
compile chat-c chat
"$EXO" run -g 239.1.2.10:5010 -- "$EXAMPLES/chat-c/bin/chat" 239.1.2.10 5010 "${1:-$USER}"
