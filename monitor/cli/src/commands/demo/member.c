// Sends datagrams to a multicast group and writes to stdout what the group carries.
//
//   member NAME GROUP PORT INTERFACE COUNT
//
// Says "ready" on stderr when it has joined, starts at a line on stdin, runs until it is ended by a signal.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int result, const char *what) {
  if (result < 0) perror(what), exit(1);
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: member NAME GROUP PORT INTERFACE COUNT\n");
    return 2;
  }
  struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
  struct ip_mreq membership;
  inet_pton(AF_INET, argv[2], &group.sin_addr);
  membership.imr_multiaddr = group.sin_addr;
  inet_pton(AF_INET, argv[4], &membership.imr_interface);
  long count = atol(argv[5]), sent = 0;
  int yes = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);
  check(fd, "socket");
  check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), "SO_REUSEADDR");
  check(bind(fd, (struct sockaddr *)&group, sizeof group), "bind");
  check(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership), "IP_ADD_MEMBERSHIP");
  check(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &membership.imr_interface, sizeof(struct in_addr)), "IP_MULTICAST_IF");

  char line[65], buffer[2048];
  fprintf(stderr, "ready\n");
  if (read(0, buffer, sizeof buffer) <= 0) return 1;
  for (;;) {
    struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < count ? POLLOUT : 0))};
    int events = poll(&p, 1, 100);
    if (events < 0 && errno != EINTR) check(events, "poll");
    if (events == 0) fflush(stdout);
    if (events <= 0) continue;
    if (p.revents & POLLIN) {
      ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got >= 0) fwrite(buffer, 1, (size_t)got, stdout);
      else if (errno != EAGAIN) check(-1, "recv");
    }
    if (p.revents & POLLOUT) {
      char head[40];
      snprintf(head, sizeof head, "%s %010ld", argv[1], sent + 1);
      snprintf(line, sizeof line, "%-63s\n", head);
      if (sendto(fd, line, 64, MSG_DONTWAIT, (struct sockaddr *)&group, sizeof group) == 64) sent++;
      else if (errno != EAGAIN && errno != ENOBUFS) check(-1, "sendto");
    }
  }
}
