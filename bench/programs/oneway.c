// One way: from `sendto` at one program to the return of `recvfrom` at another, whose clocks are one (CLOCK_MONOTONIC of
// one machine, also across network namespaces).
//
//   oneway send|receive yield|sleep GROUP PORT INTERFACE BYTES SAMPLES GAP_US TTL
//
// yield: the receiver looks again and again and gives up its core when nothing was there. sleep: blocking calls. The
// sender waits GAP_US between two datagrams. stdin: a line that starts it. stdout: "ready", then of the receiver
// "p50_ns=... p99_ns=... max_ns=... lost=...".
#include "multicast.h"

enum { WARM_UP = 100, LOST_AFTER_MS = 2000 };

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void send_all(int fd, const struct sockaddr_in *group, char *buffer, size_t size, uint64_t samples, long gap_us) {
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (uint64_t count = 1; count <= samples + WARM_UP; count++) {
    next.tv_nsec += gap_us * 1000;
    while (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    uint64_t begin_ns = now_ns();
    memcpy(buffer, &count, 8), memcpy(buffer + 8, &begin_ns, 8);
    if (sendto(fd, buffer, size, 0, (const struct sockaddr *)group, sizeof *group) < 0) die("sendto");
  }
}

int main(int argc, char **argv) {
  static char buffer[MAX_DATAGRAM];
  int size = argc == 10 ? atoi(argv[6]) : 0, samples = argc == 10 ? atoi(argv[7]) : 0;
  if (size < 16 || size > MAX_DATAGRAM || samples < 1) {
    fprintf(stderr, "usage: oneway send|receive yield|sleep GROUP PORT INTERFACE BYTES(16 to %d) SAMPLES GAP_US TTL\n", MAX_DATAGRAM);
    return 2;
  }
  int sends = !strcmp(argv[1], "send"), sleeps = !strcmp(argv[2], "sleep"), fd;
  struct sockaddr_in group = address(argv[3], argv[4]);
  if (sends) {
    if ((fd = socket(AF_INET, SOCK_DGRAM, 0)) < 0) die("socket");
    send_through(fd, argv[5], (unsigned char)atoi(argv[9]));
    wait_for_start();
    send_all(fd, &group, buffer, (size_t)size, (uint64_t)samples, atol(argv[8]));
    return 0;
  }
  fd = join(&group, argv[5]);
  blocking_timeout(fd, LOST_AFTER_MS);
  uint64_t *took_ns = calloc((size_t)samples, sizeof *took_ns), seen = 0, kept = 0, last_ns;
  if (!took_ns) die("calloc");
  wait_for_start();
  last_ns = now_ns();
  while (seen < (uint64_t)samples + WARM_UP) {
    ssize_t got = recvfrom(fd, buffer, sizeof buffer, sleeps ? 0 : MSG_DONTWAIT, NULL, NULL);
    uint64_t end_ns = now_ns(), count, begin_ns;
    if (got < 0) {
      if (errno != EAGAIN && errno != EINTR) die("recvfrom");
      if (end_ns - last_ns >= LOST_AFTER_MS * 1000000ull) break;
      if (!sleeps) sched_yield();
      continue;
    }
    last_ns = end_ns;
    memcpy(&count, buffer, 8), memcpy(&begin_ns, buffer + 8, 8);
    if (got != size || count <= seen) {
      fprintf(stderr, "datagram %llu of %zd bytes came after %llu\n", (unsigned long long)count, got, (unsigned long long)seen);
      return 1;
    }
    seen = count;
    if (count > WARM_UP) took_ns[kept++] = end_ns - begin_ns;
  }
  if (!kept) {
    fprintf(stderr, "nothing came within %d ms\n", LOST_AFTER_MS);
    return 1;
  }
  qsort(took_ns, kept, sizeof *took_ns, compare);
  printf("p50_ns=%llu p99_ns=%llu max_ns=%llu lost=%llu\n", (unsigned long long)took_ns[kept / 2],
         (unsigned long long)took_ns[kept - 1 - kept / 100], (unsigned long long)took_ns[kept - 1],
         (unsigned long long)((uint64_t)samples - kept));
  return 0;
}
