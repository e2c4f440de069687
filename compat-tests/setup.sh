#!/bin/sh
# Installs what the compatibility tests run: as root by apt-get, else names what is missing.
set -eu

# command:package
wanted='ip:iproute2 nsenter:util-linux cc:gcc python3:python3 sockperf:sockperf iperf:iperf socat:socat valgrind:valgrind'

missing=
for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
# CPython's own test suite is a package of its own on Debian.
has_suite() {
    for python in python3.13 python3.12 python3.11 python3 "$HOME"/.pyenv/versions/3.*/bin/python3; do
        "$python" -c 'import test.test_socket' >/dev/null 2>&1 && return 0
    done
    return 1
}
if ! has_suite; then
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3.11)
    missing="$missing libpython$version-testsuite"
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "compat-tests need these packages:$missing (apt-get install$missing)" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing
