"""A replicated counter: every replica applies the group's commands to its own number.

counter.py GROUP PORT NAME TOTAL < commands

Each line of stdin ("add 3", "times 7", "set 1", ...) is sent to the group. The replica stops when TOTAL commands have
been applied and prints the number. "add" and "times" do not commute: replicas that apply the same commands in
different orders end with different numbers.
"""
import socket
import sys
import threading

MODULUS = 1_000_003  # keeps the number readable

group, port, name, total = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind((group, port))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + bytes(4))
print(f"{name} has joined {group}:{port}", file=sys.stderr, flush=True)


def send_commands():
    for line in sys.stdin:
        sock.sendto(line.strip().encode(), (group, port))


def apply(number, command):
    verb, amount = command.split()
    if verb == "add":
        return (number + int(amount)) % MODULUS
    if verb == "times":
        return number * int(amount) % MODULUS
    if verb == "set":
        return int(amount) % MODULUS
    raise ValueError(f"unknown command {verb!r}; known are add, times, set")


threading.Thread(target=send_commands, daemon=True).start()
number = 0
for _ in range(total):
    number = apply(number, sock.recv(1500).decode())
print(number)
