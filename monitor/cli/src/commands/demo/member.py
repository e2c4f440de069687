"""Sends datagrams to a multicast group and writes to stdout what the group carries.

member.py NAME GROUP PORT INTERFACE COUNT
Says "ready" on stderr when it has joined, starts at a line on stdin, runs until it is ended by a signal.
"""
import socket
import sys
import threading

name, group, port, interface, count = sys.argv[1:]
port, count = int(port), int(count)

receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
receiver.bind(("", port))
receiver.setsockopt(
    socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(interface)
)
receiver.settimeout(0.1)

sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))


def send_all():
    for number in range(1, count + 1):
        line = f"{name} {number:010}"
        sender.sendto(f"{line:63}\n".encode(), (group, port))


print("ready", file=sys.stderr, flush=True)
sys.stdin.readline()
threading.Thread(target=send_all, daemon=True).start()
received = sys.stdout.buffer
while True:
    try:
        received.write(receiver.recv(2048))
    except socket.timeout:
        received.flush()
