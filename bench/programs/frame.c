// What a hop costs without a protocol: a bare frame goes round among hosts. One host sends it to all others, each of
// them reads it, the next one sends the following. With two hosts a hop is half a ping-pong.
//
//   frame TRANSPORT together|spin|yield|sleep BYTES MILLISECONDS NAMESPACE NAMESPACE...
//
// TRANSPORT is one of exod's. NAMESPACE is a file that names the network namespace of a host, whose link is eth0 with
// 10.78.0.1, .2, ... together: all hosts in one thread, one after the other. spin: a process for each host on a core of
// its own. yield: the same, giving up the core when nothing was there. sleep: blocking calls.
// stdin: a line that starts it. stdout: "ready", then "hops=... hop_ns=... cpu_ns=...": the time of a hop, and the processor
// time of host 0 for it (together: of all hosts).
#include "multicast.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { HOSTS = 8, PORT = 7100, HEAD = 14, BUFFER = 4 << 20, LOST_AFTER_MS = 10000 };
typedef enum { MULTICAST, BROADCAST, COPIES, TCP, RAW_MULTICAST, RAW_COPIES, TRANSPORTS } transport;
static const char *const names[] = {"udp-multicast", "udp-broadcast", "udp-copies", "tcp", "raw-multicast", "raw-copies"};
static const unsigned char everybody[6] = {0x03, 0x45, 0x58, 0x4f, 0x00, 0x00};

typedef struct {
  int out, in;     // sent from, heard at; raw frames and copies: one socket
  int line[HOSTS]; // TCP: to each other host
  unsigned char mac[6];
} host;

static host hosts[HOSTS];
static int count, size;
static transport kind;
static _Atomic uint32_t *over;
static char out[65536], in[65536];

static int socket_of(int family, int type, int protocol) {
  int fd = socket(family, type, protocol), bytes = BUFFER;
  if (fd < 0) die("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes)) die("SO_RCVBUF");
  return fd;
}

static void bind_to(int fd, const char *ip, int port) {
  char text[8];
  int one = 1;
  snprintf(text, sizeof text, "%d", port);
  struct sockaddr_in a = address(ip, text);
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one)) die("SO_REUSEADDR");
  if (bind(fd, (struct sockaddr *)&a, sizeof a)) die("bind");
}

static struct sockaddr_in address_of(int who, int port) {
  char ip[32], text[8];
  snprintf(ip, sizeof ip, "10.78.0.%d", who + 1), snprintf(text, sizeof text, "%d", port);
  return address(ip, text);
}

// Into the namespace of a host; what is opened next belongs to it.
static void enter(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET)) die(path);
  close(fd);
}

static void open_udp(host *h, int me) {
  int one = 1;
  struct sockaddr_in own = address_of(me, 0);
  char ip[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &own.sin_addr, ip, sizeof ip);
  h->out = h->in = socket_of(AF_INET, SOCK_DGRAM, 0);
  bind_to(h->out, ip, PORT);
  if (kind == COPIES) return;
  h->in = socket_of(AF_INET, SOCK_DGRAM, 0);
  if (kind == BROADCAST) {
    if (setsockopt(h->out, SOL_SOCKET, SO_BROADCAST, &one, sizeof one)) die("SO_BROADCAST");
    bind_to(h->in, "10.78.0.255", PORT);
    return;
  }
  unsigned char ttl = 1, no = 0;
  struct ip_mreq m = {.imr_interface = own.sin_addr, .imr_multiaddr = address("239.88.0.1", "0").sin_addr};
  if (setsockopt(h->out, IPPROTO_IP, IP_MULTICAST_IF, &own.sin_addr, sizeof own.sin_addr)) die("IP_MULTICAST_IF");
  if (setsockopt(h->out, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl)) die("IP_MULTICAST_TTL");
  if (setsockopt(h->out, IPPROTO_IP, IP_MULTICAST_LOOP, &no, sizeof no)) die("IP_MULTICAST_LOOP");
  bind_to(h->in, "239.88.0.1", PORT);
  if (setsockopt(h->in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m)) die("IP_ADD_MEMBERSHIP");
}

static void open_raw(host *h) {
  struct ifreq r = {.ifr_name = "eth0"};
  h->out = h->in = socket_of(AF_PACKET, SOCK_RAW, htons(ETH_P_802_EX1));
  if (ioctl(h->out, SIOCGIFHWADDR, &r)) die("SIOCGIFHWADDR");
  memcpy(h->mac, r.ifr_hwaddr.sa_data, 6);
  struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_802_EX1), .sll_ifindex = (int)if_nametoindex("eth0")};
  if (bind(h->out, (struct sockaddr *)&a, sizeof a)) die("bind");
  struct packet_mreq m = {.mr_ifindex = a.sll_ifindex, .mr_type = PACKET_MR_MULTICAST, .mr_alen = 6};
  memcpy(m.mr_address, everybody, 6);
  if (setsockopt(h->out, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m)) die("PACKET_ADD_MEMBERSHIP");
}

// A connection for each pair; the host with the lower number connects.
static void open_tcp(char *const *namespaces) {
  int one = 1, listener[HOSTS];
  for (int b = 0; b < count; b++) {
    enter(namespaces[b]);
    char ip[32];
    snprintf(ip, sizeof ip, "10.78.0.%d", b + 1);
    listener[b] = socket_of(AF_INET, SOCK_STREAM, 0), bind_to(listener[b], ip, PORT);
    if (listen(listener[b], HOSTS)) die("listen");
  }
  for (int a = 0; a < count; a++)
    for (int b = a + 1; b < count; b++) {
      struct sockaddr_in to = address_of(b, PORT);
      enter(namespaces[a]);
      hosts[a].line[b] = socket_of(AF_INET, SOCK_STREAM, 0);
      if (connect(hosts[a].line[b], (struct sockaddr *)&to, sizeof to)) die("connect");
      if ((hosts[b].line[a] = accept(listener[b], NULL, NULL)) < 0) die("accept");
      if (setsockopt(hosts[a].line[b], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) die("TCP_NODELAY");
      if (setsockopt(hosts[b].line[a], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) die("TCP_NODELAY");
    }
}

static void send_one(int fd, const void *bytes, size_t length, const void *to, socklen_t to_length) {
  if (sendto(fd, bytes, length, MSG_NOSIGNAL, to, to_length) != (ssize_t)length && !atomic_load(over)) die("sendto");
}

// The frame with this number, from `me` to all others.
static void pass(int me, uint32_t number) {
  host *h = &hosts[me];
  char *frame = out + HEAD;
  memcpy(frame, &number, 4);
  if (kind == MULTICAST || kind == BROADCAST) {
    static struct sockaddr_in to;
    if (!to.sin_port) {
      char port[8];
      snprintf(port, sizeof port, "%d", PORT);
      to = address(kind == MULTICAST ? "239.88.0.1" : "10.78.0.255", port);
    }
    return send_one(h->out, frame, (size_t)size, &to, sizeof to);
  }
  if (kind == RAW_MULTICAST || kind == RAW_COPIES) {
    memcpy(out + 6, h->mac, 6), memcpy(out + 12, "\x88\xb5", 2);
    if (kind == RAW_MULTICAST) {
      memcpy(out, everybody, 6);
      return send_one(h->out, out, (size_t)size + HEAD, NULL, 0);
    }
  }
  for (int to = 0; to < count; to++) {
    if (to == me) continue;
    struct sockaddr_in a = address_of(to, PORT);
    if (kind == RAW_COPIES) memcpy(out, hosts[to].mac, 6), send_one(h->out, out, (size_t)size + HEAD, NULL, 0);
    else if (kind == TCP) send_one(h->line[to], frame, (size_t)size, NULL, 0);
    else send_one(h->out, frame, (size_t)size, &a, sizeof a);
  }
}

// Whether `me` has read the frame with this number. Copies of the next one may come before it, and no later one.
static int hear(int me, uint32_t number, int flags) {
  static uint32_t early[HOSTS];
  if (number && early[me] == number) return 1;
  int from = (int)(number % (uint32_t)count);
  int raw = kind == RAW_MULTICAST || kind == RAW_COPIES;
  ssize_t got = recv(kind == TCP ? hosts[me].line[from] : hosts[me].in, in, sizeof in, flags);
  if (got < 0) {
    if (errno != EAGAIN && errno != EINTR) die("recv");
    return 0;
  }
  uint32_t seen;
  memcpy(&seen, in + (raw ? HEAD : 0), 4);
  if ((int)(seen % (uint32_t)count) == me) return 0; // a broadcast comes back
  if (seen == number + 1) {
    early[me] = seen;
    return 0;
  }
  if (seen != number && !atomic_load(over)) {
    fprintf(stderr, "frame %u came where %u was expected\n", seen, number);
    exit(1);
  }
  return 1;
}

static uint64_t cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void report(uint64_t hops, uint64_t took_ns, uint64_t cpu) {
  double each = (double)hops;
  printf("hops=%llu hop_ns=%.0f cpu_ns=%.0f\n", (unsigned long long)hops, (double)took_ns / each, (double)cpu / each);
}

static void lost(uint32_t number) {
  fprintf(stderr, "frame %u was not heard within %d ms\n", number, LOST_AFTER_MS);
  exit(1);
}

static void together(uint64_t lasts_ns) {
  uint64_t begin = now_ns(), cpu = cpu_ns();
  uint32_t number = 0;
  for (; number % 64 || now_ns() - begin < lasts_ns; number++) {
    int me = (int)(number % (uint32_t)count);
    pass(me, number);
    for (int to = 0; to < count; to++)
      for (uint64_t since = 0; to != me && !hear(to, number, MSG_DONTWAIT);) {
        if (!since) since = now_ns();
        if (now_ns() - since > LOST_AFTER_MS * 1000000ull) lost(number);
      }
  }
  report(number, now_ns() - begin, cpu_ns() - cpu);
}

static void apart(int me, int yields, int sleeps, uint64_t lasts_ns) {
  uint64_t begin = now_ns(), heard = begin, cpu = cpu_ns();
  for (uint32_t number = 0; !atomic_load(over); number++) {
    if ((int)(number % (uint32_t)count) == me) {
      if (me == 0 && number % 64 == 0 && now_ns() - begin >= lasts_ns) {
        atomic_store(over, number);
        break;
      }
      pass(me, number);
      continue;
    }
    for (uint32_t looks = 0; !hear(me, number, sleeps ? 0 : MSG_DONTWAIT); looks++) {
      if (atomic_load(over)) return;
      if ((sleeps || looks % 1024 == 1023) && now_ns() - heard > LOST_AFTER_MS * 1000000ull) lost(number);
      if (yields) sched_yield();
    }
    if (sleeps || number % 64 == 0) heard = now_ns();
  }
  if (me == 0) report(atomic_load(over), now_ns() - begin, cpu_ns() - cpu);
}

static void pin(int core) {
  cpu_set_t allowed, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
  for (int cpu = 0, left = core % CPU_COUNT(&allowed); cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &allowed) && left-- == 0) CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one); // not allowed: then unpinned
}

int main(int argc, char **argv) {
  count = argc - 5;
  for (kind = 0; argc > 1 && kind < TRANSPORTS && strcmp(argv[1], names[kind]);) kind++;
  if (count < 2 || count > HOSTS || kind == TRANSPORTS || (size = atoi(argv[3])) < 4 || size > 1400) {
    fprintf(stderr, "usage: frame TRANSPORT together|spin|yield|sleep BYTES(4 to 1400) MILLISECONDS NAMESPACE NAMESPACE...\n");
    return 2;
  }
  int is_together = !strcmp(argv[2], "together"), yields = !strcmp(argv[2], "yield"), sleeps = !strcmp(argv[2], "sleep");
  uint64_t lasts_ns = strtoull(argv[4], NULL, 10) * 1000000ull;
  over = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (over == MAP_FAILED) die("mmap");
  if (kind == TCP) open_tcp(argv + 5);
  for (int me = 0; me < count && kind != TCP; me++) {
    enter(argv[5 + me]);
    if (kind == RAW_MULTICAST || kind == RAW_COPIES) open_raw(&hosts[me]);
    else open_udp(&hosts[me], me);
  }
  for (int me = 0; me < count && sleeps; me++)
    for (int other = 0; other < count; other++) {
      if (kind == TCP && other != me) blocking_timeout(hosts[me].line[other], 50);
      if (kind != TCP) blocking_timeout(hosts[me].in, 50);
    }
  wait_for_start();
  if (is_together) {
    together(lasts_ns);
    return 0;
  }
  pid_t parent = getpid();
  for (int me = 0; me < count; me++) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    if (!sleeps) pin(me);
    apart(me, yields, sleeps, lasts_ns);
    return 0;
  }
  int status, bad = 0;
  while (wait(&status) > 0) bad |= status;
  return bad != 0;
}
