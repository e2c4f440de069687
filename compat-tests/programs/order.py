"""A member that sends COUNT datagrams of 1 to 1,400 bytes while it receives everybody's.

    order.py HOW SENDER SENDERS COUNT [extremes]

With `extremes` some are empty and some have 65,507 bytes. GROUP in its environment names another
group, also one of IPv6, on the link LINK. HOW is poll, edge (edge-triggered epoll) or threads (blocking calls). It prints `ready`, waits for
the line `go`, prints `sent`, and reports when it has everything, or when nothing came for a while
after the line `finish`.
"""

import array
import hashlib
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time

GROUP, PORT = os.environ.get("GROUP", "239.1.2.3"), 5000
ADDRESS = os.environ.get("ADDRESS", "10.77.0.1")
PATIENCE_S = 4.0
HOW, SENDER, SENDERS, COUNT = sys.argv[1], *map(int, sys.argv[2:5])
TOTAL = SENDERS * COUNT
EXTREMES = sys.argv[5:] == ["extremes"]
BYTES = random.Random(7).randbytes(70_000)


def payload(sender, number):
    """What `sender` sends as its datagram `number`; the first one says who it is."""
    if number == 0:
        return b"hello%c" % sender
    if EXTREMES and number % 500 == 250:
        return b""
    if EXTREMES and number % 500 == 499:
        return struct.pack("<II", sender, number) + BYTES[8:65_507]
    length = 1 + (number * 7919 + sender * 104729) % 1400
    start = (number * 31 + sender * 1009) % 60_000
    return BYTES[start : start + length]


class Order:
    """The sequence in which datagrams came: how many, in which order, and whether each was right."""

    def __init__(self):
        self.digest = hashlib.blake2b(digest_size=16)
        self.stream = hashlib.blake2b(digest_size=16)  # without the bounds between datagrams
        self.received = 0
        self.wrong = 0
        self.next = {}  # source → [sender, next number]
        self.chunks = []
        self.shape = array.array("I")

    def add(self, data, source):
        self.received += 1
        place = self.next.get(source)
        if place is None:
            sender = data[5] if data[:5] == b"hello" and len(data) == 6 else 255
            place = self.next[source] = [sender, 0]
        sender, number = place
        if data != payload(sender, number):
            self.wrong += 1
        place[1] = number + 1
        self.chunks.append(data)
        self.shape.append(sender)
        self.shape.append(len(data))
        if len(self.chunks) == 512:
            self.flush()

    def flush(self):
        together = b"".join(self.chunks)
        self.digest.update(together)
        self.stream.update(together)
        self.digest.update(self.shape.tobytes())
        self.chunks.clear()
        del self.shape[:]

    def report(self):
        self.flush()
        print(
            "report",
            json.dumps(
                {
                    "digest": self.digest.hexdigest(),
                    "stream": self.stream.hexdigest(),
                    "received": self.received,
                    "wrong": self.wrong,
                    "complete": self.received == TOTAL and self.wrong == 0,
                }
            ),
            flush=True,
        )


def link():
    return socket.if_nametoindex(os.environ["LINK"])


def member():
    if ":" in GROUP:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((GROUP, PORT))
        request = struct.pack("16sI", socket.inet_pton(socket.AF_INET6, GROUP), link())
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        return sock
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((GROUP, PORT))
    request = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(ADDRESS))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return sock


def speaker():
    """Each process sends from an address of its own, by which receivers know its datagrams."""
    if ":" in GROUP:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link())
        return sock
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ADDRESS))
    return sock


def with_poll(order, sock, out):
    sock.setblocking(False)
    out.setblocking(False)
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    poller.register(out, select.POLLOUT)
    poller.register(0, select.POLLIN)
    sent, finishing = 0, False
    while order.received < TOTAL:
        events = poller.poll(PATIENCE_S * 1000 if finishing else None)
        if not events and finishing:
            return
        for fd, event in events:
            if fd == sock.fileno():
                try:
                    for _ in range(64):
                        order.add(*sock.recvfrom(66_000))
                except BlockingIOError:
                    pass
            elif fd == out.fileno():
                try:
                    for _ in range(8):
                        out.sendto(payload(SENDER, sent), (GROUP, PORT))
                        sent += 1
                        if sent == COUNT:
                            print("sent", flush=True)
                            poller.unregister(out)
                            break
                except BlockingIOError:
                    pass
            elif fd == 0:
                finishing = True
                poller.unregister(0)


def with_edges(order, sock, out):
    sock.setblocking(False)
    out.setblocking(False)
    poller = select.epoll()
    poller.register(sock, select.EPOLLIN | select.EPOLLET)
    poller.register(out, select.EPOLLOUT | select.EPOLLET)
    poller.register(0, select.EPOLLIN)
    sent, finishing, writable = 0, False, False
    quiet_since = time.monotonic()
    while order.received < TOTAL:
        sending = writable and sent < COUNT
        events = poller.poll(0 if sending else 1 if finishing else -1)
        for fd, event in events:
            if fd == sock.fileno():
                quiet_since = time.monotonic()
                try:
                    while True:  # until it is empty: the next edge comes after that
                        order.add(*sock.recvfrom(66_000))
                except BlockingIOError:
                    pass
            elif fd == out.fileno():
                writable = True
            elif fd == 0:
                finishing = True
                quiet_since = time.monotonic()
                poller.unregister(0)
        if sending:
            try:
                for _ in range(8):
                    out.sendto(payload(SENDER, sent), (GROUP, PORT))
                    sent += 1
                    if sent == COUNT:
                        print("sent", flush=True)
                        break
            except BlockingIOError:
                writable = False  # and ask for an edge, even if there was one meanwhile
                poller.modify(out, select.EPOLLOUT | select.EPOLLET)
        if finishing and time.monotonic() - quiet_since > PATIENCE_S:
            return


def with_threads(order, sock, out):
    def receive():
        while order.received < TOTAL:
            order.add(*sock.recvfrom(66_000))

    def send():
        for number in range(COUNT):
            out.sendto(payload(SENDER, number), (GROUP, PORT))
        print("sent", flush=True)

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    threading.Thread(target=send, daemon=True).start()
    select.select([0], [], [])
    before = -1
    while receiver.is_alive() and order.received != before:
        before = order.received
        receiver.join(PATIENCE_S)


def main():
    sock, out, order = member(), speaker(), Order()
    print("ready", flush=True)
    os.read(0, 100)
    {"poll": with_poll, "edge": with_edges, "threads": with_threads}[HOW](order, sock, out)
    order.report()
    os._exit(0)  # a receiver may be blocked for ever when datagrams were lost


main()
