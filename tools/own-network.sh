#!/bin/sh
# own-network.sh COMMAND...: runs COMMAND in a fresh network namespace with one multicast-capable link.
#
# As root or, where that is allowed, with a user namespace. Where neither is possible (a container without
# CAP_SYS_ADMIN), it says so and runs COMMAND in the network that is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" = --inside ]; then
  shift
  ip link set lo up
  ip link add x0 type veth peer name x1
  ip addr add 10.77.0.1/24 dev x0
  ip link set x1 up
  ip link set x0 multicast on up
  ip route add 224.0.0.0/4 dev x0
  exec "$@"
fi
for how in "--net" "--user --map-root-user --net"; do
  # shellcheck disable=SC2086 # the words are separate options
  if unshare $how true 2>/dev/null; then
    exec unshare $how "$here/own-network.sh" --inside "$@"
  fi
done
echo "own-network.sh: network namespaces are not allowed here; using the network that is there" >&2
exec "$@"
