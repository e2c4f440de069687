// Chat over UDP multicast: every line of stdin goes to the group, everything that the group carries is printed.
//
//   chat GROUP PORT NAME
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: chat GROUP PORT NAME\n");
    return 2;
  }
  struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &group.sin_addr) != 1) {
    fprintf(stderr, "%s is not an IPv4 address\n", argv[1]);
    return 2;
  }
  int yes = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct ip_mreq everywhere = {.imr_multiaddr = group.sin_addr};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
      bind(fd, (struct sockaddr *)&group, sizeof group) ||
      setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &everywhere, sizeof everywhere)) {
    perror("cannot join the group");
    return 1;
  }
  fprintf(stderr, "joined %s:%s as %s\n", argv[1], argv[2], argv[3]);

  struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
  char line[1024], datagram[1200];
  size_t used = 0;
  for (;;) {
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents & POLLIN) {
      ssize_t got = recv(fd, datagram, sizeof datagram - 1, 0);
      if (got >= 0) {
        printf("%.*s\n", (int)got, datagram);
        fflush(stdout);
      }
    }
    if (fds[0].revents & (POLLIN | POLLHUP)) {
      ssize_t got = read(0, line + used, sizeof line - used);
      if (got <= 0) fds[0].fd = -1; // nothing more to say; go on listening
      else used += (size_t)got;
      char *end;
      while ((end = memchr(line, '\n', used)) || used == sizeof line) {
        size_t length = end ? (size_t)(end - line) : used;
        int n = snprintf(datagram, sizeof datagram, "%s: %.*s", argv[3], (int)length, line);
        if (sendto(fd, datagram, (size_t)n, 0, (struct sockaddr *)&group, sizeof group) < 0) perror("sendto");
        size_t taken = end ? length + 1 : length;
        memmove(line, line + taken, used -= taken);
      }
    }
  }
}
