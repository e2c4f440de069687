// What the sweeps share: every kind of descriptor, every sort of buffer, and a step for each call.
//
// One step is one call: its name, the descriptor's kind, the arguments in words, then the answer and
// what the call left behind. Each call gets a descriptor of its own.
#include "steps.h"
#include <netinet/tcp.h>
#include <setjmp.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/un.h>

// ---- kinds of descriptors
static int other = -1; // the far end of what has two ends
static int sends = -1, observes = -1;

static int quiet(int fd) {
    MUST(fcntl(fd, F_SETFL, MUST(fcntl(fd, F_GETFL)) | O_NONBLOCK));
    return fd;
}
static int k_none(void) { return 999; }
static int k_negative(void) { return -1; }
static int k_huge(void) { return INT32_MAX; }
static int k_file(void) {
    int fd = MUST(open("sweep.data", O_RDWR | O_CREAT | O_TRUNC, 0600));
    MUST(write(fd, "0123456789", 10));
    MUST(lseek(fd, 0, SEEK_SET));
    return fd;
}
static int k_directory(void) { return MUST(open(".", O_RDONLY | O_DIRECTORY)); }
static int k_path(void) { return MUST(open(".", O_PATH)); }
static int k_pipe_out(void) {
    int ends[2];
    MUST(pipe(ends));
    MUST(write(ends[1], "pipe", 4));
    other = ends[1];
    return quiet(ends[0]);
}
static int k_pipe_in(void) {
    int ends[2];
    MUST(pipe(ends));
    other = ends[0];
    return quiet(ends[1]);
}
static int k_eventfd(void) { return MUST(eventfd(3, EFD_NONBLOCK)); }
static int k_epoll(void) { return MUST(epoll_create1(0)); }
static int k_unix(void) {
    int ends[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
    MUST(send(ends[1], "local", 5, 0));
    other = ends[1];
    return quiet(ends[0]);
}
static int k_unix_stream(void) {
    int ends[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    MUST(send(ends[1], "local", 5, 0));
    other = ends[1];
    return quiet(ends[0]);
}
static int k_tcp(void) { return quiet(MUST(socket(AF_INET, SOCK_STREAM, 0))); }
static int k_tcp_listening(void) {
    int fd = k_tcp();
    struct sockaddr_in a = at("127.0.0.1", 0);
    MUST(bind(fd, SA(a), sizeof a));
    MUST(listen(fd, 1));
    return fd;
}
static int k_tcp_connected(void) {
    int listening = k_tcp_listening();
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    MUST(getsockname(listening, SA(a), &length));
    other = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(other, SA(a), sizeof a));
    await_in(listening);
    int fd = MUST(accept(listening, NULL, NULL));
    close(listening);
    MUST(send(other, "stream", 6, 0));
    await_in(fd);
    return quiet(fd);
}
static int k_udp(void) { return quiet(udp()); }
static int k_udp_bound(void) {
    int fd = k_udp();
    struct sockaddr_in a = at(address(), 0);
    MUST(bind(fd, SA(a), sizeof a));
    socklen_t length = sizeof a;
    MUST(getsockname(fd, SA(a), &length));
    int out = udp();
    MUST(sendto(out, "plain", 5, 0, SA(a), sizeof a));
    close(out);
    await_in(fd);
    return fd;
}
static int k_udp_connected(void) {
    int fd = k_udp_bound();
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    other = udp();
    struct sockaddr_in any = at(address(), 0);
    MUST(bind(other, SA(any), sizeof any));
    MUST(getsockname(other, SA(a), &length));
    MUST(connect(fd, SA(a), sizeof a));
    return fd;
}
static int k_udp_plain_member(void) { // of a group that is nobody's
    int fd = k_udp();
    MUST(on(fd, SOL_SOCKET, SO_REUSEADDR));
    struct sockaddr_in a = at(binds_any() ? "0.0.0.0" : GROUP_PLAIN, 5999);
    MUST(bind(fd, SA(a), sizeof a));
    MUST(join(fd, GROUP_PLAIN));
    return fd;
}
static int k_member(void) {
    int fd = quiet(receiver_of(GROUP_2, PORT));
    MUST(set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0));
    return fd;
}
static int k_member_with_mail(void) {
    int fd = k_member();
    MUST(tell_to(sends, GROUP_2, PORT, "to the group", 12));
    await_in(fd);
    return fd;
}
static int k_member_connected(void) {
    int fd = k_member();
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    MUST(getsockname(sends, SA(a), &length));
    MUST(connect(fd, SA(a), sizeof a));
    // Bound to a wildcard it has now the address that it was connected from, and hears no group.
    if (binds_any()) return fd;
    MUST(tell_to(sends, GROUP_2, PORT, "to the group", 12));
    await_in(fd);
    return fd;
}
static int k_member_shut(void) {
    int fd = k_member();
    shutdown(fd, SHUT_RD);
    return fd;
}
static int k_bound_to_group(void) { // never joined
    int fd = k_udp();
    MUST(on(fd, SOL_SOCKET, SO_REUSEADDR));
    MUST(set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0));
    bind_for(fd, GROUP_2, PORT);
    return fd;
}
static int k_sender(void) {
    int fd = quiet(sender());
    MUST(tell(fd, "first"));
    await_in(observes);
    MUST(recv(observes, (char[8]){0}, 8, 0));
    return fd;
}
static int k_sender_connected(void) {
    int fd = quiet(sender());
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(fd, SA(a), sizeof a));
    return fd;
}
static int k_sender_shut(void) {
    int fd = k_sender_connected();
    MUST(shutdown(fd, SHUT_WR));
    return fd;
}
static int k_member_6(void) {
    int fd = quiet(receiver6()), out = sender6();
    MUST(tell6(out, "to six", 6));
    await_in(fd);
    close(out);
    return fd;
}

struct kind {
    const char *name;
    int (*open)(void);
};
static const struct kind kinds[] = {
    {"none", k_none},
    {"negative", k_negative},
    {"huge", k_huge},
    {"file", k_file},
    {"directory", k_directory},
    {"path", k_path},
    {"pipe out", k_pipe_out},
    {"pipe in", k_pipe_in},
    {"eventfd", k_eventfd},
    {"epoll", k_epoll},
    {"unix", k_unix},
    {"unix stream", k_unix_stream},
    {"tcp", k_tcp},
    {"tcp listening", k_tcp_listening},
    {"tcp connected", k_tcp_connected},
    {"udp", k_udp},
    {"udp bound", k_udp_bound},
    {"udp connected", k_udp_connected},
    {"udp plain member", k_udp_plain_member},
    {"member", k_member},
    {"member with mail", k_member_with_mail},
    {"member connected", k_member_connected},
    {"member shut", k_member_shut},
    {"bound to group", k_bound_to_group},
    {"sender", k_sender},
    {"sender connected", k_sender_connected},
    {"sender shut", k_sender_shut},
    {"member 6", k_member_6},
};
#define KINDS (int)(sizeof kinds / sizeof *kinds)

// ---- one call
static sigjmp_buf crashed;
static void on_crash(int signal) { siglongjmp(crashed, signal); }
static const char *kind_name;
static char words[256];
static void set_words(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
}
static void answer(long result, int error) {
    if (result == -1)
        printf("%s, %s: -1 %s", words, kind_name, error ? strerrorname_np(error) : "no errno");
    else
        printf("%s, %s: %ld", words, kind_name, result);
}
// The call on a descriptor of each kind; `after` shows what it left behind.
#define ON_EACH_KIND(after, call, ...)                                                            \
    for (int k_ = 0; k_ < KINDS; k_++) {                                                          \
        set_words(__VA_ARGS__);                                                                   \
        kind_name = kinds[k_].name;                                                               \
        other = -1;                                                                               \
        int fd = kinds[k_].open();                                                                \
        int signal_ = sigsetjmp(crashed, 1);                                                      \
        if (signal_) {                                                                            \
            printf("%s, %s: signal %d", words, kind_name, signal_);                               \
        } else {                                                                                  \
            errno = 0;                                                                            \
            long result_ = (long)(call);                                                          \
            answer(result_, errno);                                                               \
            after(fd, result_);                                                                   \
        }                                                                                         \
        printf("\n");                                                                             \
        if (fd > 2 && fd < 900) close(fd);                                                        \
        if (other >= 0) close(other);                                                             \
    }
static void nothing_more(int fd, long result) { (void)fd, (void)result; }
// What can still be read, and whether it is a socket of the same state.
static void what_is_left(int fd, long result) {
    (void)result;
    char text[64] = {0};
    errno = 0;
    long length = read(fd, text, sizeof text - 1);
    if (length == -1)
        printf(", then %s", errno ? strerrorname_np(errno) : "-1");
    else
        printf(", then %ld %08x", length, sum_of(text, length));
}
// Whether anybody heard it: the group's member or the far end.
static void what_was_heard(int fd, long result) {
    (void)fd;
    char text[64];
    if (other >= 0 && in_within(other, result >= 0 ? 20 : 0) & POLLIN) {
        long length = recv(other, text, sizeof text, MSG_DONTWAIT | MSG_TRUNC);
        if (length == -1 && errno == ENOTSOCK) length = read(other, text, sizeof text);
        printf(", over there %ld", length);
    }
}
// A call that sent to the group is heard by its member; another one is followed by one that is.
static void what_the_group_heard(int fd, long result) {
    what_was_heard(fd, result);
    MUST(tell(sends, "mark"));
    for (;;) {
        static char text[BIG];
        await_in(observes);
        long length = recv(observes, text, sizeof text, MSG_DONTWAIT);
        if (length == 4 && memcmp(text, "mark", 4) == 0) break;
        printf(", the group heard %ld %08x", length, length > 0 ? sum_of(text, length) : 0);
        if (length == -1) break;
    }
}

static void begin(void) {
    alarm(0); // the test's deadline holds: there is much to do
    signal(SIGPIPE, SIG_IGN);
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    observes = quiet(receiver());
    MUST(set(observes, IPPROTO_IP, IP_MULTICAST_ALL, 0)); // only what it joined
    sends = named_sender(PORT_2 + 1000);
    // The table of descriptors has room for number 999 on both sides: select looks no further.
    MUST(dup2(0, 1000));
    close(1000);
    for (int i = 0; i < BIG; i++) big[i] = (char)i;
}

// ---- arguments
struct buffer {
    const char *name;
    char *at;
    size_t length;
};
static char room[BIG];
static int buffers(struct buffer *list, bool is_written) {
    int count = 0;
    char *gone = half_there(-1), *kept = half_there(is_written ? PROT_READ : PROT_NONE);
    list[count++] = (struct buffer){"8 bytes", room, 8};
    list[count++] = (struct buffer){"no bytes", room, 0};
    list[count++] = (struct buffer){"no bytes at null", NULL, 0};
    list[count++] = (struct buffer){"8 bytes at null", NULL, 8};
    list[count++] = (struct buffer){"8 bytes at 1", (char *)1, 8};
    list[count++] = (struct buffer){"8 unmapped bytes", gone, 8};
    list[count++] = (struct buffer){"8 bytes half unmapped", gone - 4, 8};
    list[count++] = (struct buffer){"8 forbidden bytes", kept, 8};
    list[count++] = (struct buffer){"8 bytes half forbidden", kept - 4, 8};
    list[count++] = (struct buffer){"8 bytes in the kernel", (char *)0xffffffff80000000, 8};
    list[count++] = (struct buffer){"-1 bytes", room, (size_t)-1};
    list[count++] = (struct buffer){"2^63 bytes", room, (size_t)1 << 63};
    return count;
}
static const struct {
    const char *name;
    int value;
} flags[] = {
    {"0", 0},
    {"DONTWAIT", MSG_DONTWAIT},
    {"PEEK", MSG_PEEK},
    {"TRUNC", MSG_TRUNC},
    {"PEEK|TRUNC", MSG_PEEK | MSG_TRUNC},
    {"OOB", MSG_OOB},
    {"ERRQUEUE", MSG_ERRQUEUE},
    {"WAITALL", MSG_WAITALL},
    {"NOSIGNAL", MSG_NOSIGNAL},
    {"DONTROUTE", MSG_DONTROUTE},
    {"CONFIRM", MSG_CONFIRM},
    {"EOR", MSG_EOR},
    {"CTRUNC", MSG_CTRUNC},
    {"SYN", MSG_SYN},
    {"RST", MSG_RST},
    {"FASTOPEN", MSG_FASTOPEN},
    {"CMSG_CLOEXEC", MSG_CMSG_CLOEXEC},
    {"WAITFORONE", MSG_WAITFORONE},
    {"ZEROCOPY", MSG_ZEROCOPY},
    {"bit 30 and 31", (int)0xC0000000},
};
#define FLAGS (int)(sizeof flags / sizeof *flags)

#define FOR_BUFFERS(is_written)                                                                   \
    struct buffer list_[16];                                                                      \
    int count_ = buffers(list_, is_written);                                                      \
    for (struct buffer *b = list_; b < list_ + count_; b++)
static socklen_t told; // a length that a call wrote
