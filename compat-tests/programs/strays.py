"""Sends what is no frame to a ring's ports, from a host's own address and port, and from another port.

    strays.py ADDRESS PORT MULTICAST TARGET...

It prints `sent N`: so many datagrams went to each target from ADDRESS and PORT.
"""

import random
import socket
import struct
import sys

ADDRESS, PORT, MULTICAST, *TARGETS = sys.argv[1:]
PORT = int(PORT)
chance = random.Random(11)


def header(version):
    """The beginning of a frame: magic, version, kind; the rest is arbitrary."""
    return struct.pack("<HBB", 0x7845, version, 1) + chance.randbytes(56)


STRAYS = [
    b"",
    b"x",
    struct.pack("<H", 0x7845),
    chance.randbytes(59),
    chance.randbytes(1_400),
    header(2),
    header(2) + chance.randbytes(1_000),
    header(9),
    header(9) + chance.randbytes(1_000),
    bytes(1_472),
]

known = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
known.bind((ADDRESS, PORT))
unknown = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for sock in (known, unknown):
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ADDRESS))
    for target in [*TARGETS, MULTICAST]:
        for stray in STRAYS:
            sock.sendto(stray, (target, PORT))
print("sent", len(STRAYS), flush=True)
