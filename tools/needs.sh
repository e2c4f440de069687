#!/bin/sh
# needs.sh PROGRAM...: makes sure that the programs are there.
#
# What is missing is installed with apt-get when we are root, and named with the command otherwise.
# `fmt` and `clippy` are parts of Rust, installed with rustup when it is there. Rust itself is never installed.
set -eu
package() {
  case $1 in
    cc) echo gcc libc6-dev ;;
    ip) echo iproute2 ;;
    unshare | taskset | setpriv) echo util-linux ;;
    *) echo "$1" ;;
  esac
}
missing=
packages=
for program in "$@"; do
  case $program in
    fmt | clippy)
      # rustup leaves a command of that name even where the part is missing: only running it tells.
      cargo "$program" --version >/dev/null 2>&1 && continue
      part=$([ "$program" = fmt ] && echo rustfmt || echo clippy)
      command -v rustup >/dev/null 2>&1 && rustup component add "$part" && continue
      echo "cargo $program is missing: install Rust's $part (rustup component add $part), then run this again" >&2
      exit 1
      ;;
  esac
  command -v "$program" >/dev/null 2>&1 && continue
  if [ "$program" = cargo ]; then
    echo "cargo is missing: install Rust 1.95 or newer (https://rustup.rs), then run this again" >&2
    exit 1
  fi
  missing="$missing $program"
  packages="$packages $(package "$program")"
done
[ -z "$missing" ] && exit 0
command="apt-get install -y$packages"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "missing:$missing. Install them as root, then run this again: $command" >&2
  exit 1
fi
echo "missing:$missing; running $command" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of packages
apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null || {
  echo "$command failed; install the packages another way, then run this again" >&2
  exit 1
}
