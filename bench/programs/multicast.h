// What load.c and pingpong.c share: a multicast socket, the clock, and the two lines spoken with whoever starts them.
// Plain Linux sockets; nothing here knows what delivers the datagrams.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DATAGRAM = 65507 };

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static inline struct sockaddr_in address(const char *ip, const char *port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) {
    fprintf(stderr, "%s is not an IPv4 address\n", ip);
    exit(2);
  }
  return a;
}

// A socket that receives `group`, on the interface that has the address `interface`.
static inline int join(const struct sockaddr_in *group, const char *interface) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1, bytes = 4 << 20;
  if (fd < 0) die("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one)) die("SO_REUSEADDR");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes)) die("SO_RCVBUF"); // the kernel caps it at rmem_max
  if (bind(fd, (const struct sockaddr *)group, sizeof *group)) die("bind");
  struct ip_mreq m = {.imr_multiaddr = group->sin_addr};
  m.imr_interface = address(interface, "0").sin_addr;
  if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m)) die("IP_ADD_MEMBERSHIP");
  return fd;
}

// A socket that sends to groups through that interface. A TTL of 0 keeps the datagrams on this host, which spares the
// kernel a second copy that nobody would receive; 1 brings them to the other hosts of the link.
static inline void send_through(int fd, const char *interface, unsigned char ttl) {
  struct in_addr i = address(interface, "0").sin_addr;
  if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &i, sizeof i)) die("IP_MULTICAST_IF");
  if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl)) die("IP_MULTICAST_TTL");
}

static inline void blocking_timeout(int fd, int milliseconds) {
  struct timeval t = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t)) die("SO_RCVTIMEO");
}

// "ready" goes out when the socket is joined; the line that comes back starts everybody at once.
static inline void wait_for_start(void) {
  char line[64];
  if (write(1, "ready\n", 6) != 6) exit(1);
  if (read(0, line, sizeof line) <= 0) exit(1);
}
