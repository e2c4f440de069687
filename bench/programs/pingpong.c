// Round trips over two groups: `ping` sends to PINGS and receives PONGS, `pong` answers the other way round.
//
//   pingpong ping|pong spin|yield|sleep PINGS PONGS PORT INTERFACE BYTES SAMPLES
//
// spin: MSG_DONTWAIT in a loop. yield: the same, giving up the core when nothing was there (for machines where the
// spinning processes outnumber the cores). sleep: blocking calls. pong ends when its stdin does.
// stdout of ping: "ready", then "p50_ns=... p99_ns=... samples=..." of the time from sendto to the answer.
#include "multicast.h"

enum { WARM_UP = 200, LOST_AFTER_MS = 2000 };

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc != 9) {
    fprintf(stderr, "usage: pingpong ping|pong spin|yield|sleep PINGS PONGS PORT INTERFACE BYTES SAMPLES\n");
    return 2;
  }
  int pings = !strcmp(argv[1], "ping"), sleeps = !strcmp(argv[2], "sleep"), yields = !strcmp(argv[2], "yield");
  struct sockaddr_in target = address(argv[pings ? 3 : 4], argv[5]), source = address(argv[pings ? 4 : 3], argv[5]);
  int size = atoi(argv[7]), samples = atoi(argv[8]);
  static char buffer[MAX_DATAGRAM];
  if (size < 8 || size > MAX_DATAGRAM || samples < 1) {
    fprintf(stderr, "BYTES is 8 to %d, SAMPLES at least 1\n", MAX_DATAGRAM);
    return 2;
  }
  int fd = join(&source, argv[6]);
  send_through(fd, argv[6], 0);
  blocking_timeout(fd, LOST_AFTER_MS);
  int flags = sleeps ? 0 : MSG_DONTWAIT;
  uint64_t *took_ns = calloc((size_t)samples, sizeof *took_ns);
  if (!took_ns) die("calloc");

  if (!pings) {
    struct pollfd stdin_closed = {.fd = 0, .events = POLLIN};
    wait_for_start();
    for (uint64_t turns = 0;; turns++) {
      ssize_t got = recvfrom(fd, buffer, sizeof buffer, flags, NULL, NULL);
      if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) die("recvfrom");
        if ((sleeps || turns % 4096 == 0) && poll(&stdin_closed, 1, 0) > 0) return 0;
        if (yields) sched_yield();
        continue;
      }
      if (sendto(fd, buffer, (size_t)got, 0, (struct sockaddr *)&target, sizeof target) < 0) die("sendto");
    }
  }

  wait_for_start();
  for (int i = -WARM_UP; i < samples; i++) {
    uint64_t begin_ns = now_ns(), end_ns;
    memcpy(buffer, &begin_ns, 8);
    if (sendto(fd, buffer, (size_t)size, 0, (struct sockaddr *)&target, sizeof target) < 0) die("sendto");
    for (;;) {
      ssize_t got = recvfrom(fd, buffer, sizeof buffer, flags, NULL, NULL);
      end_ns = now_ns();
      if (got == size) break;
      if (got >= 0) {
        fprintf(stderr, "an answer of %zd bytes came, %d were expected\n", got, size);
        return 1;
      }
      if (errno != EAGAIN && errno != EINTR) die("recvfrom");
      if (end_ns - begin_ns >= LOST_AFTER_MS * 1000000ull) {
        fprintf(stderr, "no answer within %d ms\n", LOST_AFTER_MS);
        return 1;
      }
      if (yields) sched_yield();
    }
    if (i >= 0) took_ns[i] = end_ns - begin_ns;
  }
  qsort(took_ns, (size_t)samples, sizeof *took_ns, compare);
  printf("p50_ns=%llu p99_ns=%llu samples=%d\n", (unsigned long long)took_ns[samples / 2],
         (unsigned long long)took_ns[samples - 1 - samples / 100], samples);
  return 0;
}
