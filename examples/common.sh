# Sourced by the examples' scripts: where Exo is, a folder to work in, waiting with a deadline, cleaning up.
# $EXO names another exo than the one that was built here; $EXO_DEADLINE the seconds that a wait may take.
EXAMPLES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BUILT=${CARGO_TARGET_DIR:-$EXAMPLES/../target}/release
EXO=${EXO:-$BUILT/exo}
if ! [ -x "$EXO" ]; then
  echo "$EXO is not there (make build, or name yours with EXO=/path/to/exo)" >&2
  exit 1
fi
WORK=$(mktemp -d)
PIDS=()

cleanup() {
  local pid
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  # The private monitor that `exo run` started ends by itself once nobody is attached.
  rm -rf "$WORK"
}
trap cleanup EXIT

# started PID: ends it when the script ends.
started() { PIDS+=("$1"); }

fail() {
  echo "FAILED: $*" >&2
  tail -n 5 "$WORK"/*.err >&2 2>/dev/null || true
  exit 1
}

# wait_until WHAT COMMAND...: until COMMAND succeeds, or fail.
wait_until() {
  local what=$1 tries=$((${EXO_DEADLINE:-30} * 20))
  shift
  until "$@"; do
    ((tries-- > 0)) || fail "still waiting until $what after ${EXO_DEADLINE:-30} s"
    sleep 0.05
  done
}

has_lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }

same_files() {
  local first=$1 other
  shift
  for other in "$@"; do cmp "$first" "$other" || fail "$first and $other differ"; done
}

# compile EXAMPLE PROGRAM: examples/EXAMPLE/PROGRAM.c into examples/EXAMPLE/bin/PROGRAM.
compile() {
  local folder=$EXAMPLES/$1
  mkdir -p "$folder/bin"
  cc -O2 -Wall -Wextra -o "$folder/bin/$2" "$folder/$2.c" || fail "cannot compile $2.c (apt-get install gcc libc6-dev)"
}
