// recv, recvfrom, recvmsg, recvmmsg, read, readv, ioctl: what comes in and how it is cut.
#include "steps.h"

static void boundaries(void) {
    int in = receiver(), out = sender();
    char text[16] = {0};
    STEP("send", tell(out, "0123456789"));
    STEP("send", tell(out, "abc"));
    await_in(in);
    STEP("part", recv(in, text, 4, 0));
    say("text: %.4s", text);
    await_in(in);
    STEP("the rest is gone", recv(in, text, 4, 0));
    say("text: %.3s", text);
}

static void flags(void) {
    int in = receiver(), out = sender();
    char text[16] = {0};
    STEP("empty", recv(in, text, sizeof text, MSG_DONTWAIT));
    STEP("send", tell(out, "0123456789"));
    await_in(in);
    STEP("peek", recv(in, text, 4, MSG_PEEK));
    STEP("peek and truncate", recv(in, text, 4, MSG_PEEK | MSG_TRUNC));
    STEP("truncate", recv(in, text, 4, MSG_TRUNC));
    STEP("gone", recv(in, text, 4, MSG_DONTWAIT));
    struct sockaddr_in a = at(GROUP, PORT);
    STEP("send", sendto(out, big, 65507, 0, SA(a), sizeof a));
    await_in(in);
    STEP("real length", recv(in, text, 10, MSG_TRUNC));
    STEP("send", tell(out, "waitall"));
    await_in(in);
    STEP("all is one", recv(in, text, sizeof text, MSG_WAITALL));
    STEP("out of band", recv(in, text, sizeof text, MSG_OOB | MSG_DONTWAIT));
    STEP("error queue", recv(in, text, sizeof text, MSG_ERRQUEUE));
    STEP("bad descriptor", recv(999, text, sizeof text, 0));
}

static void nothing(void) {
    int in = receiver(), out = sender();
    char text[16] = {0};
    STEP("send nothing", tell(out, ""));
    STEP("ready", in_within(in, 8000));
    STEP("receive nothing", recv(in, text, sizeof text, MSG_DONTWAIT));
    STEP("empty", recv(in, text, sizeof text, MSG_DONTWAIT));
    STEP("send nothing", tell(out, ""));
    STEP("blocking read", read(in, text, sizeof text));
    STEP("send", tell(out, "kept"));
    await_in(in);
    STEP("read of no bytes", read(in, text, 0));
    hear("kept", in);
    STEP("send", tell(out, "taken"));
    STEP("send", tell(out, "next"));
    await_in(in);
    STEP("recv of no bytes", recv(in, text, 0, 0));
    hear("next", in);
    STEP("send", tell(out, "taken"));
    STEP("send", tell(out, "next"));
    await_in(in);
    struct msghdr message = {0};
    STEP("recvmsg of no parts", recvmsg(in, &message, 0));
    say("flags: %x", message.msg_flags);
    hear("next", in);
    STEP("send", tell(out, "kept"));
    await_in(in);
    struct iovec none = {text, 0};
    STEP("readv of no bytes", readv(in, &none, 1));
    STEP("readv of no parts", readv(in, &none, 0));
    hear("kept", in);
}

static void scatter(void) {
    int in = receiver(), out = sender();
    char one[4] = {0}, two[4] = {0}, three[8] = {0};
    struct iovec parts[3] = {{one, 3}, {two, 3}, {three, 7}};
    STEP("send", tell(out, "abcdefgh"));
    await_in(in);
    STEP("readv", readv(in, parts, 3));
    say("parts: %s %s %s", one, two, three);
    STEP("send", tell(out, "abcdefgh"));
    await_in(in);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    STEP("recvmsg", recvmsg(in, &message, 0));
    say("flags: %x", message.msg_flags);
    STEP("send", tell(out, "abcdefgh"));
    await_in(in);
    STEP("recvmsg truncate", recvmsg(in, &message, MSG_TRUNC));
    say("flags: %x", message.msg_flags);
    STEP("empty", recvmsg(in, &message, MSG_DONTWAIT));
    STEP("pread", pread(in, one, 1, 0));
    parts[0].iov_len = (size_t)-1;
    STEP("negative part", readv(in, parts, 1));
}

static void addresses(void) {
    int in = receiver(), out = sender();
    char text[16];
    struct sockaddr_in from;
    for (socklen_t given = 0; given <= 20; given += 4) {
        unsigned char bytes[32];
        memset(bytes, 0xee, sizeof bytes);
        socklen_t length = given;
        MUST(tell(out, "x"));
        await_in(in);
        STEP("receive", recvfrom(in, text, sizeof text, 0, (struct sockaddr *)bytes, &length));
        say("given %u: length %u, untouched after it %d", given, length, bytes[given < 16 ? given : 16] == 0xee);
    }
    MUST(tell(out, "x"));
    await_in(in);
    STEP("no length", recvfrom(in, text, sizeof text, MSG_DONTWAIT, SA(from), NULL));
    MUST(tell(out, "y"));
    socklen_t length = (socklen_t)-1;
    await_in(in);
    STEP("negative length", recvfrom(in, text, sizeof text, MSG_DONTWAIT, SA(from), &length));
    MUST(tell(out, "z"));
    length = sizeof from;
    await_in(in);
    STEP("no address", recvfrom(in, text, sizeof text, MSG_DONTWAIT, NULL, &length));
    say("length: %u", length);
    // As message names.
    MUST(tell(out, "n"));
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_name = &from, .msg_namelen = 6, .msg_iov = &part, .msg_iovlen = 1};
    for (int left = 5; left && in_within(in, 200); left--) {
        message.msg_namelen = 6;
        STEP("recvmsg", recvmsg(in, &message, MSG_DONTWAIT));
        say("name length: %u", message.msg_namelen);
    }
}

static void say_control(struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        void *content = CMSG_DATA(c);
        char text[64] = "?", local[64] = "?";
        int number;
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo *info = content;
            inet_ntop(AF_INET, &info->ipi_addr, text, sizeof text);
            inet_ntop(AF_INET, &info->ipi_spec_dst, local, sizeof local);
            say("pktinfo: to %s, local %s, link is ours %d", text, local,
                (unsigned)info->ipi_ifindex == link_index());
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo *info = content;
            inet_ntop(AF_INET6, &info->ipi6_addr, text, sizeof text);
            say("pktinfo 6: to %s, link is ours %d", text, info->ipi6_ifindex == link_index());
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP) {
            struct timeval *when = content;
            say("timestamp: recent %d", llabs(time(NULL) - when->tv_sec) < 5);
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec *when = content;
            say("timestamp ns: recent %d", llabs(time(NULL) - when->tv_sec) < 5);
        } else {
            number = c->cmsg_len - CMSG_LEN(0) == 1 ? *(uint8_t *)content : *(int *)content;
            say("control: level %d type %d bytes %ld value %d", c->cmsg_level, c->cmsg_type,
                (long)(c->cmsg_len - CMSG_LEN(0)), number);
        }
    }
}

static long control(int in, size_t room, int flags) {
    static char text[64], space[512] __attribute__((aligned(8)));
    struct iovec part = {text, sizeof text};
    struct sockaddr_storage from;
    struct msghdr message = {&from, sizeof from, &part, 1, space, room, 0};
    await_in(in);
    errno = 0;
    long length = recvmsg(in, &message, flags | MSG_DONTWAIT);
    step("recvmsg", length);
    if (length >= 0) {
        say("flags: %x, name %u", message.msg_flags, message.msg_namelen);
        say_control(&message);
    }
    return length;
}

static void controls(void) {
    int in = receiver(), out = sender();
    STEP("ttl", set(out, IPPROTO_IP, IP_MULTICAST_TTL, 7));
    STEP("tos", set(out, IPPROTO_IP, IP_TOS, 0x28));
    MUST(tell(out, "plain"));
    control(in, 512, 0);
    STEP("pktinfo", on(in, IPPROTO_IP, IP_PKTINFO));
    MUST(tell(out, "pktinfo"));
    control(in, 512, 0);
    STEP("recvttl", on(in, IPPROTO_IP, IP_RECVTTL));
    STEP("recvtos", on(in, IPPROTO_IP, IP_RECVTOS));
    MUST(tell(out, "ttl and tos"));
    control(in, 512, MSG_PEEK);
    control(in, 512, 0);
    STEP("timestamp", on(in, SOL_SOCKET, SO_TIMESTAMP));
    MUST(tell(out, "timestamp"));
    control(in, 512, 0);
    STEP("timestamp ns", on(in, SOL_SOCKET, SO_TIMESTAMPNS));
    MUST(tell(out, "timestamp ns"));
    control(in, 512, 0);
    MUST(tell(out, "no room"));
    control(in, 40, 0);
    MUST(tell(out, "no room at all"));
    control(in, 0, 0);
    STEP("all off", set(in, IPPROTO_IP, IP_PKTINFO, 0) | set(in, IPPROTO_IP, IP_RECVTTL, 0) |
                        set(in, IPPROTO_IP, IP_RECVTOS, 0) | set(in, SOL_SOCKET, SO_TIMESTAMPNS, 0));
    MUST(tell(out, "plain"));
    control(in, 512, 0);
    STEP("overflow", on(in, SOL_SOCKET, SO_RXQ_OVFL));
    MUST(tell(out, "overflow"));
    control(in, 512, 0);
    int fresh = sender();
    STEP("recvttl", on(in, IPPROTO_IP, IP_RECVTTL));
    MUST(tell(fresh, "default ttl"));
    control(in, 512, 0);
}

static void controls_6(void) {
    int in = receiver6(), out = sender6();
    STEP("hops", set(out, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 7));
    STEP("class", set(out, IPPROTO_IPV6, IPV6_TCLASS, 0x28));
    STEP("pktinfo", on(in, IPPROTO_IPV6, IPV6_RECVPKTINFO));
    MUST(tell6(out, "pktinfo", 7));
    control(in, 512, 0);
    STEP("hops", on(in, IPPROTO_IPV6, IPV6_RECVHOPLIMIT));
    STEP("class", on(in, IPPROTO_IPV6, IPV6_RECVTCLASS));
    MUST(tell6(out, "all", 3));
    control(in, 512, 0);
}

static void pktinfo_of_groups(void) { // receivers bound to any see to which group it went
    int in = receiver(), out = sender();
    MUST(join(in, GROUP_2));
    MUST(on(in, IPPROTO_IP, IP_PKTINFO));
    MUST(tell_to(out, GROUP_2, PORT, "second", 6));
    control(in, 512, 0);
    MUST(tell(out, "first"));
    control(in, 512, 0);
}

static void waiting_bytes(void) {
    int in = receiver(), out = sender(), count = -1;
    STEP("empty", ioctl(in, FIONREAD, &count));
    say("count: %d", count);
    MUST(tell(out, "12345"));
    MUST(tell(out, "1234567"));
    await_in(in);
    STEP("next", ioctl(in, FIONREAD, &count));
    say("count: %d", count);
    hear("received", in);
    await_in(in);
    STEP("next", ioctl(in, SIOCINQ, &count));
    say("count: %d", count);
    hear("received", in);
    STEP("empty", ioctl(in, FIONREAD, &count));
    say("count: %d", count);
    MUST(tell(out, ""));
    await_in(in);
    STEP("no bytes", ioctl(in, FIONREAD, &count));
    say("count: %d", count);
    hear("received", in);
    STEP("unsent", ioctl(out, SIOCOUTQ, &count));
    STEP("unknown", ioctl(in, TIOCGWINSZ, &count));
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void timeouts(void) {
    int in = receiver(), out = sender();
    char text[16];
    struct timeval limit = {0, 150000}, read_back = {0};
    socklen_t length = sizeof read_back;
    STEP("set", setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    STEP("get", getsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &read_back, &length));
    say("value: %ld %ld", (long)read_back.tv_sec, (long)(read_back.tv_usec + 9999) / 10000);
    long start = milliseconds();
    STEP("nothing", recv(in, text, sizeof text, 0));
    long took = milliseconds() - start;
    say("waited: %d", took >= 140 && took < 5000);
    start = milliseconds();
    STEP("nothing for read", read(in, text, sizeof text));
    took = milliseconds() - start;
    say("waited: %d", took >= 140 && took < 5000);
    MUST(tell(out, "something"));
    STEP("something", recv(in, text, sizeof text, 0));
    struct mmsghdr batch[2] = {0};
    struct iovec part = {text, sizeof text};
    batch[0].msg_hdr = batch[1].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    STEP("nothing for recvmmsg", recvmmsg(in, batch, 2, 0, NULL));
    limit.tv_usec = 0;
    STEP("off", setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    limit.tv_usec = 2000000;
    STEP("too many microseconds", setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
}

static void many(void) {
    int in = receiver(), out = sender();
    char texts[4][8] = {0};
    struct iovec parts[4];
    struct sockaddr_in from[4];
    struct mmsghdr batch[4] = {0};
    for (int i = 0; i < 4; i++) {
        parts[i] = (struct iovec){texts[i], 7};
        batch[i].msg_hdr = (struct msghdr){&from[i], sizeof *from, &parts[i], 1, NULL, 0, 0};
    }
    STEP("empty", recvmmsg(in, batch, 4, MSG_DONTWAIT, NULL));
    MUST(tell(out, "one"));
    MUST(tell(out, "two"));
    MUST(tell(out, "three is long"));
    // All three have to be there, and readiness shows only the first.
    static struct timespec limit = {8, 0};
    STEP("three", recvmmsg(in, batch, 3, 0, &limit));
    for (int i = 0; i < 3; i++)
        say("message %d: %u %s flags %x name %u port %d", i, batch[i].msg_len, texts[i],
            batch[i].msg_hdr.msg_flags, batch[i].msg_hdr.msg_namelen, from[i].sin_port != 0);
    MUST(tell(out, "four"));
    STEP("wait for one", recvmmsg(in, batch, 4, MSG_WAITFORONE, NULL));
    say("message: %u %s", batch[0].msg_len, texts[0]);
    MUST(tell(out, "five"));
    await_in(in);
    STEP("do not wait", recvmmsg(in, batch, 4, MSG_DONTWAIT, NULL));
    STEP("none", recvmmsg(in, batch, 0, MSG_DONTWAIT, NULL));
    STEP("bad descriptor", recvmmsg(999, batch, 2, 0, NULL));
    limit.tv_nsec = -1;
    STEP("bad time", recvmmsg(in, batch, 2, 0, &limit));
    // The limit is looked at only after a datagram: two with no time left end the call.
    limit = (struct timespec){0, 1};
    MUST(tell(out, "six"));
    STEP("no time", recvmmsg(in, batch, 4, 0, &limit));
}

static void not_blocking(void) {
    int in = receiver(), out = sender(), copy = MUST(dup(in));
    char text[16];
    STEP("set on the copy", fcntl(copy, F_SETFL, O_NONBLOCK));
    say("seen on the first: %d", (fcntl(in, F_GETFL) & O_NONBLOCK) != 0);
    STEP("empty", recv(in, text, sizeof text, 0));
    STEP("empty", read(in, text, sizeof text));
    STEP("send", tell(out, "x"));
    await_in(copy);
    STEP("received", read(copy, text, sizeof text));
    int off = 0;
    STEP("off by ioctl", ioctl(in, FIONBIO, &off));
    say("seen on the copy: %d", (fcntl(copy, F_GETFL) & O_NONBLOCK) != 0);
    STEP("send", tell(out, "y"));
    STEP("blocking again", recv(in, text, sizeof text, 0));
    STEP("close the first", close(in));
    STEP("send", tell(out, "z"));
    hear("the copy still works", copy);
    int made = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    bind_for(made, GROUP_2, PORT_2);
    MUST(join(made, GROUP_2));
    STEP("made so", recv(made, text, sizeof text, 0));
    say("close on exec: %d", fcntl(made, F_GETFD));
}

static void late_join(void) {
    int out = sender(), witness = receiver();
    STEP("send", tell(out, "before"));
    hear("witness", witness);
    int in = receiver();
    STEP("send", tell(out, "after"));
    hear("received", in);
    hear("witness", witness);
}

static void kept_after_leave(void) {
    int in = receiver(), witness = receiver(), out = sender();
    MUST(set(in, IPPROTO_IP, IP_MULTICAST_ALL, 0));
    STEP("send", tell(out, "before"));
    STEP("send", tell(out, "before too"));
    hear("witness", witness);
    hear("witness", witness);
    await_in(in);
    STEP("leave", leave(in, GROUP));
    STEP("send", tell(out, "while away"));
    hear("witness", witness);
    hear("received", in);
    hear("received", in);
    STEP("join again", join(in, GROUP));
    STEP("send", tell(out, "back"));
    hear("received", in);
}

// A big queue: what was sent waits in the order of sending.
static void queue(void) {
    int in = receiver(), out = sender();
    for (int i = 0; i < 100; i++) {
        char text[16];
        int length = snprintf(text, sizeof text, "number %d", i);
        MUST(tell_to(out, GROUP, PORT, text, length));
    }
    for (int i = 0; i < 100; i++) hear("received", in);
    hear_nothing("no more", in);
}

static void peek_at(int in, size_t room, int flags) {
    char text[32] = {0};
    struct iovec parts[2] = {{text, room / 2}, {text + room / 2, room - room / 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    errno = 0;
    long length = recvmsg(in, &message, flags | MSG_DONTWAIT);
    say("%s of %d: %ld %s, %s, flags %x, offset %d", flags & MSG_PEEK ? "peek" : "receive", (int)room, length,
        length < 0 ? strerrorname_np(errno) : "", text, message.msg_flags,
        option(in, SOL_SOCKET, SO_PEEK_OFF));
}
static void last_is(int fd, int out, const char *text) { // the last of several is there
    char all[64];
    int count = 0;
    MUST(tell(out, text));
    struct sockaddr_in from;
    for (int looks = 0; looks < 8000; looks++, poll(NULL, 0, 1)) {
        if (recv(fd, all, sizeof all, MSG_DONTWAIT) == (long)strlen(text) && !memcmp(all, text, strlen(text))) return;
    }
    say("it did not come");
}
static void peek_offset(void) {
    int in = receiver(), out = sender(), witness = receiver();
    say("offset: %d", option(in, SOL_SOCKET, SO_PEEK_OFF));
    STEP("offset", set(in, SOL_SOCKET, SO_PEEK_OFF, 0));
    static const char *const texts[] = {"abcdef", "123", ""};
    for (int i = 0; i < 3; i++) MUST(tell(out, texts[i]));
    last_is(witness, out, "xy");
    for (int i = 0; i < 9; i++) peek_at(in, 2, MSG_PEEK);
    peek_at(in, 2, 0);
    peek_at(in, 2, MSG_PEEK);
    for (int i = 0; i < 4; i++) peek_at(in, 20, 0);
    MUST(tell(out, "abcdef"));
    last_is(witness, out, "123456");
    STEP("offset", set(in, SOL_SOCKET, SO_PEEK_OFF, 3));
    for (int i = 0; i < 3; i++) peek_at(in, 10, MSG_PEEK);
    STEP("offset", set(in, SOL_SOCKET, SO_PEEK_OFF, 3));
    peek_at(in, 1, MSG_PEEK | MSG_TRUNC);
    for (int i = 0; i < 4; i++) peek_at(in, 2, MSG_PEEK);
    for (int at = 2; at < 13; at++) {
        MUST(set(in, SOL_SOCKET, SO_PEEK_OFF, at));
        peek_at(in, 3, MSG_PEEK);
    }
    int copy = MUST(dup(in));
    STEP("by a copy", set(copy, SOL_SOCKET, SO_PEEK_OFF, 5));
    STEP("other options", on(in, IPPROTO_IP, IP_RECVTTL) | set(in, IPPROTO_IP, IP_RECVTTL, 0));
    peek_at(in, 20, 0);
    STEP("offset", set(in, SOL_SOCKET, SO_PEEK_OFF, 20));
    peek_at(in, 10, MSG_PEEK);
    STEP("off", set(in, SOL_SOCKET, SO_PEEK_OFF, -7));
    peek_at(in, 2, MSG_PEEK);
    peek_at(in, 2, MSG_PEEK);
    peek_at(in, 2, MSG_TRUNC);
    STEP("offset", set(in, SOL_SOCKET, SO_PEEK_OFF, 0));
    MUST(tell(out, ""));
    last_is(witness, out, "q");
    for (int i = 0; i < 3; i++) peek_at(in, 5, MSG_PEEK);
    for (int i = 0; i < 3; i++) peek_at(in, 5, 0);
    STEP("short", setsockopt(in, SOL_SOCKET, SO_PEEK_OFF, big, 2));
    STEP("null", setsockopt(in, SOL_SOCKET, SO_PEEK_OFF, NULL, 4));
    // Set before it is a member's.
    int later = udp();
    MUST(on(later, SOL_SOCKET, SO_REUSEADDR));
    STEP("before bind", set(later, SOL_SOCKET, SO_PEEK_OFF, 1));
    bind_for(later, GROUP, PORT);
    MUST(join(later, GROUP));
    last_is(witness, out, "later");
    await_in(later);
    peek_at(later, 2, MSG_PEEK);
    peek_at(later, 10, 0);
}
static void peek_waits(void) { // a peek beyond the last datagram waits for the next
    int in = receiver(), out = sender();
    char text[16] = {0};
    STEP("offset", set(in, SOL_SOCKET, SO_PEEK_OFF, 0));
    struct timeval limit = {0, 100000};
    MUST(setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    STEP("nothing", recv(in, text, sizeof text, MSG_PEEK));
    MUST(tell(out, "first"));
    STEP("first", recv(in, text, sizeof text, MSG_PEEK));
    long start = milliseconds();
    STEP("beyond", recv(in, text, sizeof text, MSG_PEEK));
    say("waited: %d", milliseconds() - start >= 90);
    limit.tv_usec = 0;
    MUST(setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    pid_t child = fork();
    if (child == 0) {
        await_asleep(getppid(), getppid());
        MUST(tell(out, "second"));
        _exit(0);
    }
    STEP("second", recv(in, text, sizeof text, MSG_PEEK));
    say("text: %s", text);
    await_child("child", child);
    hear("received", in);
    hear("received", in);
}

static void pointers(void) {
    int in = receiver(), out = sender();
    char text[32];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    fcntl(in, F_SETFL, O_NONBLOCK);
#define FEED() (MUST(tell(out, "for nobody")), await_in(in))
#define EMPTY() while (recv(in, text, sizeof text, MSG_DONTWAIT) != -1) {}
    FEED();
    STEP("buffer", recv(in, (void *)8, 10, 0));
    EMPTY();
    FEED();
    STEP("read", read(in, (void *)8, 10));
    EMPTY();
    FEED();
    STEP("address", recvfrom(in, text, sizeof text, 0, (struct sockaddr *)8, &length));
    EMPTY();
    FEED();
    STEP("length", recvfrom(in, text, sizeof text, 0, SA(from), (socklen_t *)8));
    EMPTY();
    FEED();
    STEP("parts", readv(in, (struct iovec *)8, 2));
    EMPTY();
    FEED();
    STEP("message", recvmsg(in, (struct msghdr *)8, 0));
    EMPTY();
    FEED();
    STEP("batch", recvmmsg(in, (struct mmsghdr *)8, 2, MSG_DONTWAIT, NULL));
    EMPTY();
    STEP("size", ioctl(in, FIONREAD, (void *)8));
    FEED();
    hear("still works", in);
}

static void unmapped(void) {
    int in = receiver(), out = sender();
    static const int protections[] = {-1, PROT_NONE, PROT_READ};
    for (int i = 0; i < 3; i++) {
        char *edge = half_there(protections[i]), text[16];
        for (int room = 9; room < 13; room++) {
            MUST(tell(out, "0123456789"));
            await_in(in);
            STEP("at the edge", recv(in, edge - 10, room, 0));
        }
        MUST(tell(out, "0123456789"));
        await_in(in);
        STEP("room beyond the edge", read(in, edge - 10, 4096));
        MUST(tell(out, "0123456789"));
        await_in(in);
        STEP("one byte over", read(in, edge - 9, 4096));
        struct iovec parts[2] = {{text, 4}, {edge - 5, 6}};
        STEP("taken", recv(in, text, sizeof text, MSG_DONTWAIT));
        MUST(tell(out, "0123456789"));
        await_in(in);
        STEP("second part", readv(in, parts, 2));
        MUST(tell(out, "123456789"));
        await_in(in);
        STEP("just fits", readv(in, parts, 2));
        hear_nothing("taken", in);
        MUST(tell(out, "peeked at"));
        await_in(in);
        STEP("peek", recv(in, edge, 5, MSG_PEEK));
        STEP("no room", recv(in, edge, 0, MSG_PEEK));
        hear("still there", in);
    }
}

MAIN(CASE(boundaries), CASE(flags), CASE(nothing), CASE(scatter), CASE(addresses), CASE(controls),
     CASE(controls_6), CASE(pktinfo_of_groups), CASE(waiting_bytes), CASE(timeouts), CASE(many),
     CASE(not_blocking), CASE(late_join), CASE(kept_after_leave), CASE(queue), CASE(peek_offset), CASE(peek_waits), CASE(pointers), CASE(unmapped))
