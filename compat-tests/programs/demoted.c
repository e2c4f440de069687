// A member that a program without the shim reads: who sent what, how much, how big.
#include "steps.h"

// Starts this program without the shim on `in`, to do `what` with the next `count` datagrams.
static pid_t start_bare(const char *what, int in, int count) {
    pid_t child = MUST(fork());
    if (child == 0) {
        char number[16], times[16];
        snprintf(number, sizeof number, "%d", in);
        snprintf(times, sizeof times, "%d", count);
        char *words[] = {"demoted", (char *)what, number, times, NULL}, *none[] = {NULL};
        execve("/proc/self/exe", words, none);
        _exit(8);
    }
    return child;
}

static void hear_from(int in) {
    char text[2000] = {0}, from[64] = "?";
    struct sockaddr_storage a = {0};
    struct sockaddr_in *a4 = (void *)&a;
    struct sockaddr_in6 *a6 = (void *)&a;
    socklen_t length = sizeof a;
    await_in(in);
    if (recvfrom(in, text, sizeof text - 1, MSG_DONTWAIT, SA(a), &length) == -1) {
        step("received", -1);
        return;
    }
    bool six = a.ss_family == AF_INET6;
    inet_ntop(a.ss_family, six ? (void *)&a6->sin6_addr : (void *)&a4->sin_addr, from, sizeof from);
    // An address that the kernel chose has no place in the output.
    if (six && IN6_IS_ADDR_LINKLOCAL(&a6->sin6_addr)) strcpy(from, "fe80::");
    say("%s: from %s port %d length %u", text, from, ntohs(a4->sin_port), length);
}

static int listen_bare(int in, int count) {
    for (int i = 0; i < count; i++) hear_from(in);
    return 0;
}

static int weigh_bare(int in, int count) {
    for (int i = 0; i < count; i++) {
        await_in(in);
        long length = recv(in, big, sizeof big, MSG_DONTWAIT);
        say("length: %ld, sum: %u", length, sum_of(big, length > 0 ? length : 0));
        write(1234, "n", 1); // natively the queue holds little more than one of the largest
    }
    return 0;
}

static void sources(void) {
    int in = receiver(), first = named_sender(4001), second = named_sender(4002);
    MUST(tell(first, "queued by the first"));
    MUST(tell(second, "queued by the second"));
    await_in(in);
    pid_t child = start_bare("listen", in, 5);
    MUST(tell(first, "one"));
    MUST(tell(second, "two"));
    MUST(tell(first, "three"));
    await_child("child", child);
    MUST(tell(second, "for the parent"));
    hear_from(in);
}

static void sources_of_a_stream(void) {
    int in = receiver(), out = named_sender(4001);
    FILE *file = fdopen(in, "r");
    MUST(tell(out, "a line\n"));
    char line[64] = "";
    say("line: %s", fgets(line, sizeof line, file));
    MUST(tell(out, "plain"));
    hear_from(in);
}

static int bound6(const char *ip, int port, unsigned scope) {
    int fd = sender6();
    struct sockaddr_in6 a = at6(ip, port);
    a.sin6_scope_id = scope;
    MUST(bind(fd, SA(a), sizeof a));
    return fd;
}
// The address of the link that is only valid there.
static const char *local_address(void) {
    static char ip[64] = "";
    char digits[33], name[32];
    unsigned scope;
    FILE *file = fopen("/proc/net/if_inet6", "r");
    while (fscanf(file, "%32s %*x %*x %x %*x %31s", digits, &scope, name) == 3) {
        if (strcmp(name, link_name()) != 0 || scope != 0x20) continue;
        for (int i = 0; i < 8; i++) sprintf(ip + 5 * i, i < 7 ? "%.4s:" : "%.4s", digits + 4 * i);
    }
    fclose(file);
    return ip;
}
static void sources6(void) {
    int in = receiver6(), first = bound6("fd77::1", 4001, 0), second = bound6("fd77::1", 4002, 0);
    int local = bound6(local_address(), 4003, link_index());
    MUST(tell6(first, "queued", 6));
    await_in(in);
    pid_t child = start_bare("listen", in, 4);
    MUST(tell6(first, "one", 3));
    MUST(tell6(second, "two", 3));
    MUST(tell6(local, "three", 5));
    await_child("child", child);
}

static void fill(void) {
    for (int i = 0; i < BIG; i++) big[i] = i * 7 + i / 256;
}
static int next[2]; // one byte for each datagram that was weighed
static pid_t start_weighing(int in, int count) {
    fill();
    MUST(pipe(next));
    MUST(dup2(next[1], 1234));
    return start_bare("weigh", in, count);
}
static void sizes(void) {
    static const int lengths[] = {0, 1, 1400, 1473, 9000, 65506, 65507};
    int in = receiver(), out = sender();
    pid_t child = start_weighing(in, 7);
    for (int i = 0; i < 7; i++) {
        char byte;
        MUST(tell_to(out, GROUP, PORT, big, lengths[i]));
        MUST(read(next[0], &byte, 1));
    }
    await_child("child", child);
}
static void sizes6(void) {
    static const int lengths[] = {0, 1, 1400, 1453, 65488, 65489, 65527};
    int in = receiver6(), out = sender6();
    pid_t child = start_weighing(in, 7);
    for (int i = 0; i < 7; i++) {
        char byte;
        MUST(tell6(out, big, lengths[i]));
        MUST(read(next[0], &byte, 1));
    }
    await_child("child", child);
}

static void forgeries(void) { // whoever finds out where the program's own socket is
    int in = receiver(), out = named_sender(4001), forger = udp();
    fclose(fdopen(dup(in), "r"));
    STEP("detach", on(in, SOL_SOCKET, SO_DETACH_FILTER));
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    // The name is the group's for the program; the kernel knows the other.
    MUST(syscall(SYS_getsockname, in, &a, &length));
    char text[] = "forged";
    if (!IN_MULTICAST(ntohl(a.sin_addr.s_addr)))
        MUST(sendto(forger, text, sizeof text, 0, SA(a), sizeof a));
    MUST(tell(out, "genuine"));
    hear_from(in);
    hear_nothing("no more", in);
}

static void forgeries6(void) { // the same before and after the switch
    int in = receiver6(), out = bound6("fd77::1", 4001, 0), forger = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    STEP("detach", on(in, SOL_SOCKET, SO_DETACH_FILTER));
    for (int round = 0; round < 2; round++) {
        struct sockaddr_in6 a;
        socklen_t length = sizeof a;
        MUST(syscall(SYS_getsockname, in, &a, &length));
        // Among them what a doorbell says.
        if (!IN6_IS_ADDR_MULTICAST(&a.sin6_addr))
            for (char byte = 0; byte < 4; byte++) MUST(sendto(forger, &byte, 1, 0, SA(a), sizeof a));
        STEP("nothing to receive", in_within(in, 0));
        MUST(tell6(out, "genuine", 7));
        hear_from(in);
        hear_nothing("no more", in);
        if (round == 0) fclose(fdopen(dup(in), "r"));
    }
}

static void plain_unicast(void) { // it has no place in the order, and comes all the same
    int in = receiver(), out = sender();
    char byte;
    MUST(tell_to(out, address(), PORT, "queued unicast", 14));
    await_in(in);
    pid_t child = start_weighing(in, 3);
    MUST(read(next[0], &byte, 1));
    MUST(tell_to(out, address(), PORT, "unicast", 7));
    MUST(read(next[0], &byte, 1));
    MUST(tell(out, "for the group"));
    await_child("child", child);
}

static void no_rights(void) {
    struct {
        uint32_t version;
        int pid;
    } head = {0x20080522, 0};
    uint32_t none[6] = {0};
    MUST(syscall(SYS_capset, &head, none));
}
static int named_bare(int in, int count) {
    for (int i = 0; i < count; i++) {
        char text[64] = {0};
        struct sockaddr_in a = {0};
        socklen_t length = sizeof a;
        await_in(in);
        STEP("received", recvfrom(in, text, sizeof text, MSG_DONTWAIT, SA(a), &length));
        say("text: %s", text);
        say("from the sender: %d", a.sin_port == htons(4001));
    }
    return 0;
}
static void without_rights(void) {
    int in = receiver(), out = named_sender(4001);
    no_rights();
    pid_t child = start_bare("named", in, 1);
    MUST(tell(out, "unnamed"));
    await_child("child", child);
}

// More than a queue holds, before the reader begins.
enum { SMALL = 3000, LARGE = 30, LARGE_BYTES = 60000 };
static int count_bare(int in, int unused) {
    char byte;
    read(0, &byte, 1); // all is sent
    int right = 0;
    for (int i = 0; i < SMALL + LARGE; i++) {
        uint32_t number = -1;
        await_in(in);
        long length = recv(in, big, sizeof big, MSG_DONTWAIT);
        memcpy(&number, big, sizeof number);
        if (length != (i < SMALL ? 1000 : LARGE_BYTES) || number != i) break;
        right++;
    }
    say("right: %d of %d", right, SMALL + LARGE);
    return 0;
}
static void flood_to(int in, long (*tell_all)(int fd, const void *bytes, size_t length), int out) {
    int begin[2];
    MUST(pipe(begin));
    dup2(begin[0], 0);
    pid_t child = start_bare("count", in, 0);
    for (uint32_t i = 0; i < SMALL + LARGE; i++) {
        memcpy(big, &i, sizeof i);
        MUST(tell_all(out, big, i < SMALL ? 1000 : LARGE_BYTES));
    }
    MUST(write(begin[1], "b", 1));
    await_child("child", child);
}
static long tell4(int fd, const void *bytes, size_t length) { return tell_to(fd, GROUP, PORT, bytes, length); }
static void floods(void) { flood_to(receiver(), tell4, sender()); }
static void floods6(void) { flood_to(receiver6(), tell6, sender6()); }

int main(int count, char **words) {
    static const struct named_case cases[] = {
        CASE(sources), CASE(sources_of_a_stream), CASE(sources6), CASE(sizes), CASE(sizes6), CASE(forgeries),
        CASE(forgeries6), CASE(plain_unicast),
        CASE(without_rights), CASE(floods), CASE(floods6), {0}};
    static const struct {
        const char *name;
        int (*run)(int, int);
    } bare[] = {{"listen", listen_bare}, {"weigh", weigh_bare}, {"named", named_bare}, {"count", count_bare}};
    for (int i = 0; count == 4 && i < 4; i++) {
        alarm(20);
        if (strcmp(words[1], bare[i].name) == 0) return bare[i].run(atoi(words[2]), atoi(words[3]));
    }
    return run_case(count, words, cases);
}
