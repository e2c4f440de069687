// What this machine can do at best, without any socket call. The rows of the benchmark are set against it.
//
//   floor lanes SENDERS RECEIVERS BYTES MESSAGES  every sender has a ring, one monitor copies all rings into one log,
//                                                 every receiver reads the whole log. SENDERS == RECEIVERS > 1 means
//                                                 that each member does both. Prints "per_second=...".
//   floor middleman yield|spin SAMPLES            A to B through a monitor and back. Prints "p50_ns=... p99_ns=...".
//   floor line SAMPLES                            one cache line to the other core and back. Prints "p50_ns=...".
//
// Indexes move once per batch, who finds nothing to do yields its core.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RING_BYTES = 1 << 20, LOG_BYTES = 1 << 22, SLACK = 1 << 17, MEMBERS_MAX = 64, HEADER = 16 };
enum { SEND_BATCH = 32, RECEIVE_BATCH = 64, DRAIN_BATCH = 256 };

// Two lines apart, because processors fetch lines in pairs.
typedef struct { _Alignas(128) _Atomic uint64_t at; } counter;
typedef struct { counter tail, head; _Alignas(128) char bytes[]; } ring;

static uint64_t load(counter *c) { return atomic_load_explicit(&c->at, memory_order_acquire); }
static void store(counter *c, uint64_t v) { atomic_store_explicit(&c->at, v, memory_order_release); }

static void *shared(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED) { perror("mmap"); exit(1); }
  return p;
}
static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
static void pin(int core) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)(core % (int)(cores < 1 ? 1 : cores)), &set);
  sched_setaffinity(0, sizeof set, &set); // not allowed: then unpinned
}
static pid_t child(void) {
  pid_t parent = getpid(), pid = fork();
  if (pid < 0) { perror("fork"); exit(1); }
  if (!pid) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
  }
  return pid;
}
static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static uint64_t record_bytes(uint32_t payload) { return (HEADER + payload + 15) & ~15ull; }

typedef struct {
  int senders, receivers, members;
  uint32_t payload;
  uint64_t each, total;
  ring *lane[MEMBERS_MAX], *log;
  counter *cursor, *go;
} world;

static void member(world *w, int me) {
  int sends = me < w->senders, reads = w->senders == w->receivers && w->senders > 1 ? 1 : me >= w->senders;
  uint64_t tail = 0, head = 0, at = 0, end = 0, told = 0, sent = 0, got = 0, record = record_bytes(w->payload);
  static char buffer[SLACK];
  volatile uint64_t sum = 0;
  ring *lane = w->lane[me];
  while (!load(w->go)) sched_yield();
  while ((sends && sent < w->each) || (reads && got < w->total)) {
    int did = 0;
    for (int k = 0; sends && k < SEND_BATCH && sent < w->each; k++) {
      if (tail + record - head > RING_BYTES && (head = load(&lane->head), tail + record - head > RING_BYTES)) break;
      char *p = lane->bytes + (tail & (RING_BYTES - 1));
      uint64_t word = (uint64_t)me << 48 | sent++;
      memcpy(p, &w->payload, 4), memcpy(p + 8, &word, 8), memcpy(p + HEADER, buffer, w->payload);
      tail += record, did = 1;
    }
    if (did) store(&lane->tail, tail);
    for (int k = 0; reads && k < RECEIVE_BATCH && got < w->total; k++) {
      if (at >= end && (end = load(&w->log->tail), at >= end)) break;
      char *p = w->log->bytes + (at & (LOG_BYTES - 1));
      uint32_t payload;
      uint64_t word;
      memcpy(&payload, p, 4), memcpy(&word, p + 8, 8), memcpy(buffer, p + HEADER, payload);
      sum = sum * 31 + word;
      at += record_bytes(payload), got++, did = 1;
    }
    if (reads && (at - told > LOG_BYTES / 64 || (!did && at != told))) store(&w->cursor[me], told = at);
    if (!did) sched_yield();
  }
  if (reads) store(&w->cursor[me], UINT64_MAX / 2);
  _exit(0);
}

static void monitor(world *w) {
  uint64_t head[MEMBERS_MAX] = {0}, tail = 0, low = 0, done = 0, record = record_bytes(w->payload);
  while (done < w->total) {
    int did = 0;
    for (int i = 0; i < w->senders; i++) {
      uint64_t end = load(&w->lane[i]->tail), from = head[i];
      for (int k = 0; head[i] < end && k < DRAIN_BATCH; k++) {
        if (tail + record - low > LOG_BYTES) {
          low = UINT64_MAX;
          for (int j = 0; j < w->members; j++) {
            uint64_t c = load(&w->cursor[j]);
            if (c < low) low = c;
          }
          if (tail + record > LOG_BYTES + low) break;
        }
        char *p = w->lane[i]->bytes + (head[i] & (RING_BYTES - 1));
        uint32_t payload;
        memcpy(&payload, p, 4);
        if (payload > w->payload) abort(); // a monitor looks at what it copies
        memcpy(w->log->bytes + (tail & (LOG_BYTES - 1)), p, HEADER + payload);
        tail += record, head[i] += record, done++;
      }
      if (head[i] != from) store(&w->log->tail, tail), store(&w->lane[i]->head, head[i]), did = 1;
    }
    if (!did) sched_yield();
  }
  _exit(0);
}

static int lanes(int senders, int receivers, uint32_t payload, uint64_t each) {
  int both = senders == receivers && senders > 1;
  world w = {.senders = senders, .receivers = receivers, .members = both ? senders : senders + receivers};
  if (senders < 1 || receivers < 1 || w.members > MEMBERS_MAX || payload > 65507 || each < 1) return 2;
  w.payload = payload, w.each = each, w.total = each * (uint64_t)senders;
  w.cursor = shared(sizeof(counter) * MEMBERS_MAX), w.go = shared(sizeof(counter));
  w.log = shared(sizeof(ring) + LOG_BYTES + SLACK);
  for (int i = 0; i < w.members; i++) {
    w.lane[i] = shared(sizeof(ring) + RING_BYTES + SLACK);
    if (!both && i < senders) store(&w.cursor[i], UINT64_MAX / 2); // does not read, holds nobody up
  }
  for (int i = 0; i < w.members; i++)
    if (!child()) pin(both ? i % 2 : 0), member(&w, i);
  if (!child()) pin(1), monitor(&w);
  uint64_t begin = now_ns();
  store(w.go, 1);
  int status, bad = 0;
  while (wait(&status) > 0) bad |= status;
  printf("per_second=%.0f\n", (double)w.total * 1e9 / (double)(now_ns() - begin));
  return bad != 0;
}

static void rest(int yields) {
  if (yields) sched_yield();
}

static int middleman(int yields, int samples) {
  counter *hop = shared(sizeof(counter) * 4); // A to M, M to B, B to M, M to A
  pid_t m = child();
  if (!m) {
    pin(1);
    for (uint64_t a = 0, b = 0, v;;) {
      if ((v = load(&hop[0])) != a) store(&hop[1], a = v);
      else if ((v = load(&hop[2])) != b) store(&hop[3], b = v);
      else rest(yields);
    }
  }
  pid_t b = child();
  if (!b) {
    pin(yields ? 0 : 2);
    for (uint64_t seen = 0, v;;) {
      if ((v = load(&hop[1])) != seen) store(&hop[2], seen = v);
      else rest(yields);
    }
  }
  pin(0);
  uint64_t *took = calloc((size_t)samples, sizeof *took);
  if (!took) return 1;
  for (int i = -200; i < samples; i++) {
    uint64_t begin = now_ns(), n = (uint64_t)(i + 201);
    store(&hop[0], n);
    while (load(&hop[3]) != n) rest(yields);
    if (i >= 0) took[i] = now_ns() - begin;
  }
  qsort(took, (size_t)samples, sizeof *took, compare);
  printf("p50_ns=%llu p99_ns=%llu\n", (unsigned long long)took[samples / 2],
         (unsigned long long)took[samples - 1 - samples / 100]);
  kill(m, SIGKILL), kill(b, SIGKILL);
  return 0;
}

static int line(int samples) {
  counter *there = shared(sizeof(counter) * 2), *back = there + 1;
  pid_t other = child();
  if (!other) {
    pin(1);
    for (uint64_t n = 1;; n++) {
      while (load(there) != n) {}
      store(back, n);
    }
  }
  pin(0);
  enum { TRIPS = 200 }; // one trip is shorter than reading the clock
  uint64_t *took = calloc((size_t)samples, sizeof *took), n = 0;
  if (!took) return 1;
  for (int i = 0; i < samples; i++) {
    uint64_t begin = now_ns();
    for (int k = 0; k < TRIPS; k++) {
      store(there, ++n);
      while (load(back) != n) {}
    }
    took[i] = (now_ns() - begin) / TRIPS;
  }
  qsort(took, (size_t)samples, sizeof *took, compare);
  printf("p50_ns=%llu\n", (unsigned long long)took[samples / 2]);
  kill(other, SIGKILL);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 6 && !strcmp(argv[1], "lanes"))
    return lanes(atoi(argv[2]), atoi(argv[3]), (uint32_t)atoi(argv[4]), strtoull(argv[5], NULL, 10));
  if (argc == 4 && !strcmp(argv[1], "middleman") && atoi(argv[3]) > 0)
    return middleman(!strcmp(argv[2], "yield"), atoi(argv[3]));
  if (argc == 3 && !strcmp(argv[1], "line") && atoi(argv[2]) > 0) return line(atoi(argv[2]));
  fprintf(stderr, "usage: floor lanes SENDERS RECEIVERS BYTES MESSAGES | middleman yield|spin SAMPLES | line SAMPLES\n");
  return 2;
}
