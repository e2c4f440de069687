"""A member that does what it is told, a line at a time, and says what came of it.

    socket           a UDP socket, closed again
    open [any]       a socket bound to the group (or to any address) that joins it
    join-first       the same, joined before it is bound
    send TEXT        one datagram to the group
    stamp            one datagram that holds the time
    age              waits for one of these; microseconds since it was sent
    flood            datagrams of 1,000 bytes until one is refused
    recv             waits in recv
    poll, select     waits there, then receives without waiting
    epoll            the same, registered when the socket was opened
    close

GROUP in its environment names another group, also one of IPv6, on the link LINK.

Each answer is `N WORD RESULT`, where N counts the lines and RESULT is what was received, `ok`, or the
name of the error.
"""

import errno
import os
import select
import socket
import struct
import sys
import time

GROUP, PORT = os.environ.get("GROUP", "239.1.2.3"), 5000
ADDRESS = os.environ.get("ADDRESS", "10.77.0.1")
if ":" in GROUP:
    FAMILY, LEVEL = socket.AF_INET6, socket.IPPROTO_IPV6
    INTERFACE, JOIN = socket.IPV6_MULTICAST_IF, socket.IPV6_JOIN_GROUP
    OUT = struct.pack("I", socket.if_nametoindex(os.environ["LINK"]))
else:
    FAMILY, LEVEL = socket.AF_INET, socket.IPPROTO_IP
    INTERFACE, JOIN = socket.IP_MULTICAST_IF, socket.IP_ADD_MEMBERSHIP
    OUT = socket.inet_aton(ADDRESS)
MEMBERSHIP = socket.inet_pton(FAMILY, GROUP) + OUT
held = {}


def make(bind, join_first=False):
    held["socket"] = made = socket.socket(FAMILY, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(LEVEL, INTERFACE, OUT)
    if join_first:
        made.setsockopt(LEVEL, JOIN, MEMBERSHIP)
    made.bind((bind, PORT))
    if not join_first:
        made.setsockopt(LEVEL, JOIN, MEMBERSHIP)
    held["epoll"] = select.epoll()
    held["epoll"].register(made, select.EPOLLIN)


def do(word, rest):
    if word == "socket":
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    elif word == "open":
        make("" if rest == "any" else GROUP)
    elif word == "join-first":
        make("", join_first=True)
    elif word == "send":
        held["socket"].sendto(rest.encode(), (GROUP, PORT))
    elif word == "stamp":
        held["socket"].sendto(b"%d" % time.monotonic_ns(), (GROUP, PORT))
    elif word == "age":
        sent = int(held["socket"].recv(100))
        return str((time.monotonic_ns() - sent) // 1000)
    elif word == "flood":
        while True:
            held["socket"].sendto(bytes(1000), (GROUP, PORT))
    elif word == "close":
        held["epoll"].close()
        held["socket"].close()
    else:
        if word == "poll":
            poll = select.poll()
            poll.register(held["socket"], select.POLLIN)
            poll.poll()
        elif word == "select":
            select.select([held["socket"]], [], [])
        elif word == "epoll":
            held["epoll"].poll()
        flags = 0 if word == "recv" else socket.MSG_DONTWAIT
        return held["socket"].recv(2000, flags).decode()
    return "ok"


print("ready", flush=True)
for number, line in enumerate(sys.stdin, 1):
    word, _, rest = line.strip().partition(" ")
    try:
        result = do(word, rest)
    except OSError as error:
        result = errno.errorcode.get(error.errno, str(error))
    print(number, word, result, flush=True)
