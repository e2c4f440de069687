// What every case needs: addresses from the environment, sockets, and printed steps.
//
// A step is a line `name: result`. Results must not depend on time or on numbers that the kernel
// chooses, because two runs are compared as text. Delivery takes time, so a case waits with
// await_in() before it looks, and a case that wants to show that something does NOT arrive sends
// something afterwards that does.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-function"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GROUP "239.1.2.3"       // a group at PORT
#define GROUP_2 "239.1.2.4"     // a group at PORT and at PORT_2
#define GROUP_6 "ff15::1"       // a group at PORT
#define GROUP_PLAIN "239.9.9.9" // nobody's group: the kernel's on both sides
#define PORT 5000
#define PORT_2 5001
#define BIG 66000

extern char **environ;
static char big[BIG] __attribute__((unused));

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}
static bool binds_any(void) { return strcmp(setting("BIND", "group"), "any") == 0; }
static const char *address(void) { return setting("ADDRESS", "10.77.0.1"); }
static const char *link_name(void) { return setting("LINK", "x0"); }
static unsigned link_index(void) { return if_nametoindex(link_name()); }

// ---- printed steps
static void step(const char *name, long result) {
    if (result == -1 && errno)
        printf("%s: -1 %s\n", name, strerrorname_np(errno));
    else
        printf("%s: %ld\n", name, result);
    fflush(stdout);
}
#define STEP(name, call)                                                                          \
    ({                                                                                            \
        errno = 0;                                                                                \
        long result_ = (long)(call);                                                              \
        step(name, result_);                                                                      \
        result_;                                                                                  \
    })
static void say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    printf("\n");
    fflush(stdout);
}
#define MUST(call)                                                                                \
    ({                                                                                            \
        long must_ = (long)(call);                                                                \
        if (must_ == -1) {                                                                        \
            printf("line %d: %s failed: %s\n", __LINE__, #call, strerrorname_np(errno));          \
            fflush(stdout);                                                                       \
            _exit(9);                                                                             \
        }                                                                                         \
        (int)must_;                                                                               \
    })

// ---- addresses
static struct sockaddr_in at(const char *ip, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}
static struct sockaddr_in6 at6(const char *ip, int port) {
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, ip, &a.sin6_addr);
    return a;
}
#define SA(a) ((struct sockaddr *)&(a))
// The address, and the port only when it is one that the case chose.
static void say_address(const char *name, struct sockaddr_in *a, socklen_t length) {
    char text[64] = "?";
    int port = ntohs(a->sin_port);
    inet_ntop(AF_INET, &a->sin_addr, text, sizeof text);
    say("%s: family %d %s port %d length %u", name, a->sin_family, text,
        port == PORT || port == PORT_2 ? port : port != 0, length);
}
static void say_name(const char *name, int fd, int (*call)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_in a = {0};
    socklen_t length = sizeof a;
    errno = 0;
    if (call(fd, SA(a), &length) == -1)
        step(name, -1);
    else
        say_address(name, &a, length);
}
#define SAY_SOCK(name, fd) say_name(name, fd, (int (*)(int, struct sockaddr *, socklen_t *))getsockname)
#define SAY_PEER(name, fd) say_name(name, fd, (int (*)(int, struct sockaddr *, socklen_t *))getpeername)

// ---- sockets
static int on(int fd, int level, int option) {
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one);
}
static int option(int fd, int level, int name) {
    int value = -7;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) == -1 ? -1 : value;
}
static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}
static int membership(int fd, const char *group, int what) {
    struct ip_mreq request = {0};
    inet_pton(AF_INET, group, &request.imr_multiaddr);
    inet_pton(AF_INET, address(), &request.imr_interface);
    return setsockopt(fd, IPPROTO_IP, what, &request, sizeof request);
}
static int join(int fd, const char *group) { return membership(fd, group, IP_ADD_MEMBERSHIP); }
static int leave(int fd, const char *group) { return membership(fd, group, IP_DROP_MEMBERSHIP); }
static int udp(void) { return MUST(socket(AF_INET, SOCK_DGRAM, 0)); }
static void bind_for(int fd, const char *group, int port) {
    struct sockaddr_in a = at(binds_any() ? "0.0.0.0" : group, port);
    MUST(bind(fd, SA(a), sizeof a));
}
// A member of `group`, bound as the run asks.
static int receiver_of(const char *group, int port) {
    int fd = udp();
    MUST(on(fd, SOL_SOCKET, SO_REUSEADDR));
    bind_for(fd, group, port);
    MUST(join(fd, group));
    return fd;
}
static int receiver(void) { return receiver_of(GROUP, PORT); }
// Sends through the link, never bound.
static int sender(void) {
    int fd = udp();
    struct in_addr interface;
    inet_pton(AF_INET, address(), &interface);
    MUST(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface));
    return fd;
}
// A sender with an address of its own.
static int named_sender(int port) {
    int fd = sender();
    struct sockaddr_in a = at(address(), port);
    MUST(bind(fd, SA(a), sizeof a));
    return fd;
}
static long tell_to(int fd, const char *group, int port, const void *bytes, size_t length) {
    struct sockaddr_in a = at(group, port);
    return sendto(fd, bytes, length, 0, SA(a), sizeof a);
}
static long tell(int fd, const char *text) { return tell_to(fd, GROUP, PORT, text, strlen(text)); }
static int receiver6(void) {
    int fd = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    MUST(on(fd, SOL_SOCKET, SO_REUSEADDR));
    struct sockaddr_in6 a = at6(binds_any() ? "::" : GROUP_6, PORT);
    MUST(bind(fd, SA(a), sizeof a));
    struct ipv6_mreq request = {.ipv6mr_interface = link_index()};
    inet_pton(AF_INET6, GROUP_6, &request.ipv6mr_multiaddr);
    MUST(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request));
    return fd;
}
static int sender6(void) {
    int fd = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    MUST(set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, link_index()));
    return fd;
}
static long tell6(int fd, const void *bytes, size_t length) {
    struct sockaddr_in6 a = at6(GROUP_6, PORT);
    return sendto(fd, bytes, length, 0, SA(a), sizeof a);
}

// Memory whose second page is gone, or may not be used so.
static char *half_there(int protection) {
    char *base = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(base, 'm', 8192);
    if (protection < 0)
        munmap(base + 4096, 4096);
    else
        mprotect(base + 4096, 4096, protection);
    return base + 4096;
}

// ---- waiting for events
static int in_within(int fd, int timeout_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&p, 1, timeout_ms);
    } while (ready == -1 && errno == EINTR);
    return ready == 1 ? p.revents : 0;
}
static void await_in(int fd) {
    if (!(in_within(fd, 8000) & POLLIN)) say("await: nothing came");
}
// Receives one datagram and prints its text.
static void hear(const char *name, int fd) {
    char text[2000] = {0};
    await_in(fd);
    errno = 0;
    long length = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    if (length == -1)
        step(name, -1);
    else
        say("%s: %ld %s", name, length, text);
}
static void hear_nothing(const char *name, int fd) {
    char text[16];
    STEP(name, recv(fd, text, sizeof text, MSG_DONTWAIT));
}
// Waits until a thread sleeps in the kernel, as seen often enough in a row.
static void await_asleep(pid_t process, pid_t thread) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", process, thread);
    for (int seen = 0, looks = 0; seen < 20 && looks < 20000; looks++) {
        int fd = open(path, O_RDONLY);
        long length = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
        if (fd >= 0) close(fd);
        line[length > 0 ? length : 0] = 0;
        char *after = strrchr(line, ')');
        seen = after && after[2] == 'S' ? seen + 1 : 0;
        poll(NULL, 0, 1);
    }
}
static void await_child(const char *name, pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) == -1 && errno == EINTR) {}
    if (WIFSIGNALED(status))
        say("%s: killed by %d", name, WTERMSIG(status));
    else
        say("%s: exit %d", name, WEXITSTATUS(status));
}
static uint32_t sum_of(const void *bytes, size_t length) {
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < length; i++) sum = (sum ^ ((const uint8_t *)bytes)[i]) * 16777619u;
    return sum;
}

// ---- cases by name
struct named_case {
    const char *name;
    void (*run)(void);
};
#define CASE(name) {#name, name}
static int run_case(int count, char **words, const struct named_case *cases) {
    alarm(30); // a case that hangs is killed, and its last step shows where
    for (; count > 1 && cases->name; cases++) {
        if (strcmp(cases->name, words[1]) == 0) {
            cases->run();
            printf("end\n");
            fflush(stdout);
            return 0;
        }
    }
    fprintf(stderr, "no such case\n");
    return 2;
}
#define MAIN(...)                                                                                 \
    int main(int count, char **words) {                                                           \
        static const struct named_case cases[] = {__VA_ARGS__, {0}};                              \
        return run_case(count, words, cases);                                                     \
    }
