// A multicast load: sends datagrams to a group for some seconds, receives what the group carries, or both.
//
//   load send|receive|both plain|mmsg GROUP PORT INTERFACE BYTES MILLISECONDS GRACE_MS NUMBER TTL
//
// NUMBER (0..65535) tells senders apart. Each datagram starts with 8 bytes: NUMBER in the upper 16 bits, a count from 1
// below. `plain` calls sendto and recvfrom, `mmsg` calls sendmmsg and recvmmsg, 32 datagrams at a time.
// stdin: a line that starts it; for receivers a second line with the number of datagrams that all senders sent.
// stdout: "ready", then for senders "sent N", then for receivers one line "received=..." with what was seen.
// A receiver ends when it has that number, or when nothing came for GRACE_MS after it learnt the number.
#include "multicast.h"

enum { BATCH = 32, SENDERS = 64 };

static struct sockaddr_in group;
static int fd, size, mmsg;
static uint64_t number, sent, received, out_of_order, missing_inside, digest = 14695981039346656037ull;
static uint64_t timed, last_ns; // how many had come at which moment: the pair that a rate is computed from
static uint64_t latest[SENDERS];

static char out[BATCH][MAX_DATAGRAM], in[BATCH][MAX_DATAGRAM];
static struct mmsghdr outs[BATCH], ins[BATCH];
static struct iovec out_iov[BATCH], in_iov[BATCH];
static struct sockaddr_in from[BATCH];

static void prepare(void) {
  for (int i = 0; i < BATCH; i++) {
    memset(out[i], 'x', (size_t)size);
    out_iov[i] = (struct iovec){out[i], (size_t)size};
    in_iov[i] = (struct iovec){in[i], sizeof in[i]};
    outs[i].msg_hdr = (struct msghdr){.msg_iov = &out_iov[i], .msg_iovlen = 1, .msg_name = &group, .msg_namelen = sizeof group};
    ins[i].msg_hdr = (struct msghdr){.msg_iov = &in_iov[i], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
  }
}

static inline void stamp(char *datagram, uint64_t count) {
  uint64_t word = number << 48 | count;
  memcpy(datagram, &word, 8);
}

// Sends up to one batch; returns how many went out.
static int send_some(int flags) {
  if (mmsg) {
    for (int i = 0; i < BATCH; i++) stamp(out[i], sent + 1 + (uint64_t)i);
    int n = sendmmsg(fd, outs, BATCH, flags);
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS) die("sendmmsg");
    if (n > 0) sent += (uint64_t)n;
    return n > 0 ? n : 0;
  }
  int n = 0;
  for (; n < BATCH; n++) {
    stamp(out[0], sent + 1);
    if (sendto(fd, out[0], (size_t)size, flags, (struct sockaddr *)&group, sizeof group) < 0) {
      if (errno == EAGAIN || errno == ENOBUFS) break;
      die("sendto");
    }
    sent++;
  }
  return n;
}

static inline void take(const char *datagram, size_t length) {
  if (length != (size_t)size) {
    fprintf(stderr, "a datagram of %zu bytes came, %d were expected\n", length, size);
    exit(1);
  }
  uint64_t word;
  memcpy(&word, datagram, 8);
  uint64_t who = word >> 48 & (SENDERS - 1), count = word & 0xffffffffffffull;
  if (count <= latest[who]) out_of_order++;
  else missing_inside += count - latest[who] - 1, latest[who] = count;
  digest = (digest ^ word) * 1099511628211ull;
  if (++received % 64 == 0) timed = received, last_ns = now_ns(); // a clock reading for every datagram would be felt
}

// Receives up to one batch; returns how many came.
static int receive_some(int flags) {
  if (mmsg) {
    int n = recvmmsg(fd, ins, BATCH, flags | (flags & MSG_DONTWAIT ? 0 : MSG_WAITFORONE), NULL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) die("recvmmsg");
    for (int i = 0; i < n; i++) take(in[i], ins[i].msg_len);
    return n > 0 ? n : 0;
  }
  int n = 0;
  for (; n < (flags & MSG_DONTWAIT ? 2 * BATCH : 1); n++) {
    socklen_t length = sizeof from[0];
    ssize_t got = recvfrom(fd, in[0], sizeof in[0], flags, (struct sockaddr *)&from[0], &length);
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) break;
      die("recvfrom");
    }
    take(in[0], (size_t)got);
  }
  return n;
}

static void say_sent(void) {
  char line[64];
  int n = snprintf(line, sizeof line, "sent %llu\n", (unsigned long long)sent);
  if (write(1, line, (size_t)n) != n) exit(1);
}

// The number on the second line of stdin, once it is there.
static uint64_t expected(void) {
  static uint64_t known;
  struct pollfd p = {.fd = 0, .events = POLLIN};
  if (!known && poll(&p, 1, 0) > 0) {
    char line[64] = {0};
    if (read(0, line, sizeof line - 1) <= 0) exit(1);
    known = strtoull(line, NULL, 10);
  }
  return known;
}

int main(int argc, char **argv) {
  if (argc != 11) {
    fprintf(stderr, "usage: load send|receive|both plain|mmsg GROUP PORT INTERFACE BYTES MILLISECONDS GRACE_MS NUMBER TTL\n");
    return 2;
  }
  int sends = !strcmp(argv[1], "send") || !strcmp(argv[1], "both");
  int receives = !strcmp(argv[1], "receive") || !strcmp(argv[1], "both");
  mmsg = !strcmp(argv[2], "mmsg");
  group = address(argv[3], argv[4]);
  size = atoi(argv[6]);
  if (size < 8 || size > MAX_DATAGRAM) {
    fprintf(stderr, "BYTES is 8 to %d\n", MAX_DATAGRAM);
    return 2;
  }
  uint64_t lasts_ns = strtoull(argv[7], NULL, 10) * 1000000ull, grace_ns = strtoull(argv[8], NULL, 10) * 1000000ull;
  number = strtoull(argv[9], NULL, 10) & (SENDERS - 1);

  if (receives) fd = join(&group, argv[5]);
  else if ((fd = socket(AF_INET, SOCK_DGRAM, 0)) < 0) die("socket");
  if (sends) send_through(fd, argv[5], (unsigned char)atoi(argv[10]));
  if (receives) blocking_timeout(fd, 50);
  prepare();
  wait_for_start();

  uint64_t start_ns = now_ns(), stop_ns = start_ns + lasts_ns, idle_since = 0;
  last_ns = start_ns;
  if (sends && !receives) {
    for (uint64_t batches = 0; batches % 8 || now_ns() < stop_ns; batches++) send_some(0);
    say_sent();
    return 0;
  }
  // One thread. Who only receives blocks in the call; who also sends must not, or it could not read meanwhile: it
  // alternates, and yields the core when there was nothing to do.
  int flags = sends ? MSG_DONTWAIT : 0;
  for (uint64_t turns = 0;; turns++) {
    int did = 0;
    if (sends) {
      did = send_some(MSG_DONTWAIT);
      if (turns % 8 == 0 && now_ns() >= stop_ns) sends = 0, say_sent();
    }
    int got = receive_some(flags);
    if (got) {
      idle_since = 0;
      continue;
    }
    if (sends) {
      if (!did) sched_yield();
      continue;
    }
    uint64_t now = now_ns();
    if (!idle_since) idle_since = now;
    uint64_t all = expected();
    if (all && (received >= all || now - idle_since > grace_ns)) break;
    if (flags) sched_yield();
  }
  printf("received=%llu timed=%llu sent=%llu out_of_order=%llu missing_inside=%llu start_ns=%llu last_ns=%llu digest=%016llx\n",
         (unsigned long long)received, (unsigned long long)timed, (unsigned long long)sent, (unsigned long long)out_of_order,
         (unsigned long long)missing_inside, (unsigned long long)start_ns, (unsigned long long)last_ns,
         (unsigned long long)digest);
  return 0;
}
