// sendto, send, sendmsg, sendmmsg, write, writev, sendfile: what goes out and what is refused.
#include "steps.h"

static void send_and_hear(int out, int in, size_t length) {
    struct sockaddr_in a = at(GROUP, PORT);
    for (size_t i = 0; i < length; i++) big[i] = (char)(i * 31 + length);
    uint32_t sum = sum_of(big, length);
    errno = 0;
    long sent = sendto(out, big, length, 0, SA(a), sizeof a);
    if (sent == -1) {
        say("%zu: %s", length, strerrorname_np(errno));
        return;
    }
    static char text[BIG];
    await_in(in);
    long heard = recv(in, text, sizeof text, MSG_DONTWAIT);
    say("%zu: sent %ld, received %ld, same bytes %d", length, sent, heard,
        heard >= 0 && sum_of(text, heard) == sum);
}

static void sizes(void) {
    static const int sizes[] = {0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 127, 255, 256, 1023, 1400, 1471,
                                1472, 1473, 4095, 4096, 4097, 8972, 9000, 16384, 32767, 32768, 40000,
                                65000, 65506, 65507, 65508, 65535, 65536, 66000};
    int in = receiver(), out = sender();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) send_and_hear(out, in, sizes[i]);
    // Sizes one after another, so that every alignment of a record occurs, and laps of a log.
    for (int round = 0; round < 3000; round++) {
        size_t length = (round * 37) % 1500;
        memset(big, round, length);
        struct sockaddr_in a = at(GROUP, PORT);
        MUST(sendto(out, big, length, 0, SA(a), sizeof a));
        char text[1600];
        await_in(in);
        long heard = recv(in, text, sizeof text, MSG_DONTWAIT);
        if (heard != (long)length || memcmp(text, big, length))
            say("round %d: %ld of %zu", round, heard, length);
    }
    for (int round = 0; round < 300; round++) {
        size_t length = 65507 - round;
        memset(big, round, length);
        struct sockaddr_in a = at(GROUP, PORT);
        MUST(sendto(out, big, length, 0, SA(a), sizeof a));
        static char text[BIG];
        await_in(in);
        long heard = recv(in, text, sizeof text, MSG_DONTWAIT);
        if (heard != (long)length || memcmp(text, big, length))
            say("large round %d: %ld of %zu", round, heard, length);
    }
    say("rounds: done");
}

static void sizes_6(void) {
    static const int sizes[] = {0, 1, 1400, 1452, 1453, 65507, 65508, 65527, 65528, 66000};
    int in = receiver6(), out = sender6();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        errno = 0;
        long sent = tell6(out, big, sizes[i]);
        if (sent == -1) {
            say("%d: %s", sizes[i], strerrorname_np(errno));
            continue;
        }
        static char text[BIG];
        await_in(in);
        say("%d: sent %ld, received %ld", sizes[i], sent, recv(in, text, sizeof text, MSG_DONTWAIT));
    }
}

static void errors(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    STEP("first", sendto(out, "x", 1, 0, SA(a), sizeof a));
    STEP("bad descriptor", sendto(999, "x", 1, 0, SA(a), sizeof a));
    STEP("not a socket", sendto(0, "x", 1, 0, SA(a), sizeof a));
    STEP("no address", sendto(out, "x", 1, 0, NULL, 0));
    STEP("send without address", send(out, "x", 1, 0));
    STEP("write without address", write(out, "x", 1));
    STEP("short address", sendto(out, "x", 1, 0, SA(a), 4));
    STEP("long address", sendto(out, "x", 1, 0, SA(a), 4096));
    STEP("null buffer, no bytes", sendto(out, NULL, 0, 0, SA(a), sizeof a));
    STEP("out of band", sendto(out, "x", 1, MSG_OOB, SA(a), sizeof a));
    STEP("flags", sendto(out, "flags", 5, MSG_NOSIGNAL | MSG_DONTWAIT, SA(a), sizeof a));
    struct sockaddr_in6 a6 = at6(GROUP_6, PORT);
    STEP("other family", sendto(out, "x", 1, 0, SA(a6), sizeof a6));
    struct sockaddr_in odd = a;
    odd.sin_family = 99;
    STEP("odd family", sendto(out, "x", 1, 0, SA(odd), sizeof odd));
    odd = a;
    odd.sin_family = AF_UNSPEC;
    STEP("no family", sendto(out, "no family", 9, 0, SA(odd), sizeof odd));
    odd = a;
    odd.sin_port = 0;
    STEP("no port", sendto(out, "x", 1, 0, SA(odd), sizeof odd));
    STEP("too long", sendto(out, big, 65508, 0, SA(a), sizeof a));
    STEP("huge", sendto(out, big, (size_t)1 << 40, 0, SA(a), sizeof a));
    hear("received", in);
    hear("received", in);
    hear("received", in);
    hear("received", in);
    hear_nothing("no more", in);
}

static void gather(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    struct iovec parts[4] = {{"ab", 2}, {NULL, 0}, {"cde", 3}, {"f", 1}};
    struct msghdr message = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = parts, .msg_iovlen = 4};
    STEP("four parts", sendmsg(out, &message, 0));
    message.msg_iovlen = 0;
    STEP("no parts", sendmsg(out, &message, 0));
    message.msg_iovlen = 1;
    message.msg_namelen = 0;
    message.msg_name = NULL;
    STEP("no address", sendmsg(out, &message, 0));
    message.msg_name = &a;
    message.msg_namelen = 3;
    STEP("short address", sendmsg(out, &message, 0));
    message.msg_namelen = sizeof a;
    parts[0].iov_len = (size_t)-1;
    STEP("negative part", sendmsg(out, &message, 0));
    static struct iovec many[1025];
    for (int i = 0; i < 1025; i++) many[i] = (struct iovec){"m", 1};
    message.msg_iov = many;
    message.msg_iovlen = 1024;
    STEP("1024 parts", sendmsg(out, &message, 0));
    message.msg_iovlen = 1025;
    STEP("1025 parts", sendmsg(out, &message, 0));
    hear("received", in);
    hear("received", in);
    char text[2000];
    await_in(in);
    STEP("received", recv(in, text, sizeof text, MSG_DONTWAIT));
    STEP("connect", connect(out, SA(a), sizeof a));
    STEP("writev none", writev(out, many, 0));
    STEP("writev 1025", writev(out, many, 1025));
    STEP("write nothing", write(out, "", 0));
    STEP("send nothing", send(out, "", 0, 0));
    STEP("pwrite", pwrite(out, "x", 1, 0));
    STEP("last", send(out, "last", 4, 0));
    for (char last = 0; !last;) {
        await_in(in);
        errno = 0;
        long length = recv(in, text, sizeof text, MSG_DONTWAIT);
        step("received", length);
        last = length != 0;
    }
}

static void many(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    struct iovec parts[6] = {{"one", 3}, {"two", 3}, {"three", 5}, {big, 65508}, {"five", 4}, {"six", 3}};
    struct mmsghdr batch[6] = {0};
    for (int i = 0; i < 6; i++) {
        batch[i].msg_hdr = (struct msghdr){&a, sizeof a, &parts[i], 1, NULL, 0, 0};
        batch[i].msg_len = 77;
    }
    STEP("stops at the fourth", sendmmsg(out, batch, 6, 0));
    for (int i = 0; i < 6; i++) say("length %d: %u", i, batch[i].msg_len);
    STEP("fails at the first", sendmmsg(out, batch + 3, 3, 0));
    STEP("none", sendmmsg(out, batch, 0, 0));
    STEP("the rest", sendmmsg(out, batch + 4, 2, MSG_DONTWAIT));
    STEP("bad descriptor", sendmmsg(999, batch, 2, 0));
    for (int i = 0; i < 5; i++) hear("received", in);
    // As many as a queue of the kernel's holds, and as many as it takes in one call.
    static struct mmsghdr large[1500];
    struct iovec tiny = {"t", 1};
    for (int i = 0; i < 1500; i++) large[i].msg_hdr = (struct msghdr){&a, sizeof a, &tiny, 1, NULL, 0, 0};
    STEP("200", sendmmsg(out, large, 200, 0));
    int count = 0;
    char text[16];
    for (; count < 200; count++) {
        await_in(in);
        if (recv(in, text, sizeof text, MSG_DONTWAIT) != 1) break;
    }
    say("received: %d", count);
    hear_nothing("no more", in);
    struct sockaddr_in plain = at(GROUP_PLAIN, 6100);
    for (int i = 0; i < 1500; i++) large[i].msg_hdr.msg_name = &plain;
    STEP("1500", sendmmsg(out, large, 1500, 0));
}

// Different groups and the kernel's in one batch.
static void many_targets(void) {
    int in = receiver(), in_2 = receiver_of(GROUP_2, PORT), plain = receiver_of(GROUP_PLAIN, 6100);
    int out = sender(), host = named_sender(6002);
    struct sockaddr_in a[4] = {at(GROUP, PORT), at(GROUP_2, PORT), at(GROUP_PLAIN, 6100),
                               at(address(), 6002)};
    struct iovec part = {"same", 4};
    struct mmsghdr batch[8] = {0};
    for (int i = 0; i < 8; i++) batch[i].msg_hdr = (struct msghdr){&a[i % 4], sizeof *a, &part, 1, NULL, 0, 0};
    STEP("send", sendmmsg(out, batch, 8, 0));
    for (int i = 0; i < 2; i++) {
        hear("group", in);
        hear("second", in_2);
        hear("plain", plain);
        hear("host", host);
    }
}

static void loop_off(void) {
    int in = receiver(), out = sender();
    STEP("loop", set(out, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    say("loop is: %d", option(out, IPPROTO_IP, IP_MULTICAST_LOOP));
    STEP("send", tell(out, "not for us"));
    STEP("loop", set(out, IPPROTO_IP, IP_MULTICAST_LOOP, 1));
    STEP("send", tell(out, "for us"));
    hear("received", in);
    hear_nothing("no more", in);
}

static void loop_off_elsewhere(void) {
    // The receiver is another process of this host.
    int ready[2];
    MUST(pipe(ready));
    pid_t child = MUST(fork());
    if (child == 0) {
        int in = receiver();
        write(ready[1], "r", 1);
        hear("another process", in);
        _exit(0);
    }
    char byte;
    read(ready[0], &byte, 1);
    int out = sender();
    STEP("loop", set(out, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    MUST(tell(out, "without loop"));
    // Says nothing meanwhile: the child may be speaking.
    MUST(set(out, IPPROTO_IP, IP_MULTICAST_LOOP, 1));
    MUST(tell(out, "with loop"));
    await_child("child", child);
}

static void more(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    STEP("corked", sendto(out, "first ", 6, MSG_MORE, SA(a), sizeof a));
    STEP("corked", sendto(out, "second ", 7, MSG_MORE, SA(a), sizeof a));
    STEP("last", sendto(out, "third", 5, 0, SA(a), sizeof a));
    hear("one datagram", in);
    STEP("connect", connect(out, SA(a), sizeof a));
    STEP("cork", on(out, IPPROTO_UDP, UDP_CORK));
    STEP("send", send(out, "a", 1, 0));
    STEP("send", send(out, "b", 1, 0));
    STEP("uncork", set(out, IPPROTO_UDP, UDP_CORK, 0));
    hear("one datagram", in);
}

static void hear_length(const char *name, int in) {
    static char text[BIG];
    await_in(in);
    errno = 0;
    long length = recv(in, text, sizeof text, MSG_DONTWAIT);
    if (length == -1)
        step(name, -1);
    else
        say("%s: %ld %08x", name, length, sum_of(text, length));
}

static void more_targets(void) { // the first piece says where the datagram goes
    int in = receiver(), in_2 = receiver_of(GROUP_2, PORT), plain = receiver_of(GROUP_PLAIN, 6100);
    int out = sender();
    struct sockaddr_in a = at(GROUP, PORT), odd = a, none = {0};
    STEP("first", sendto(out, "a", 1, MSG_MORE, SA(a), sizeof a));
    STEP("to another", tell_to(out, GROUP_2, PORT, "b", 1));
    hear("received", in);
    STEP("without", send(out, "x", 1, MSG_MORE));
    STEP("first", tell_to(out, GROUP_2, PORT, "plain", 5));
    hear("received", in_2);
    STEP("connect", connect(out, SA(a), sizeof a));
    STEP("first by address", sendto(out, "1", 1, MSG_MORE, SA(((struct sockaddr_in[]){at(GROUP_2, PORT)})[0]), sizeof a));
    STEP("to the peer", write(out, "2", 1));
    hear("received", in_2);
    STEP("first", send(out, "k", 1, MSG_MORE));
    odd.sin_family = 99;
    STEP("short address", sendto(out, "l", 1, MSG_MORE, SA(a), 4));
    STEP("odd family", sendto(out, "m", 1, MSG_MORE, SA(odd), sizeof odd));
    STEP("out of band", send(out, "n", 1, MSG_OOB));
    STEP("last", send(out, "o", 1, 0));
    hear("received", in);
    STEP("first", send(out, "k", 1, MSG_MORE));
    odd = at(GROUP_2, PORT);
    STEP("connect elsewhere", connect(out, SA(odd), sizeof odd));
    STEP("last", send(out, "e", 1, 0));
    hear("received", in_2);
    STEP("first by address", sendto(out, "k", 1, MSG_MORE, SA(a), sizeof a));
    odd = at(GROUP_PLAIN, 6100);
    STEP("connect to nobody's group", connect(out, SA(odd), sizeof odd));
    STEP("last", send(out, "e", 1, 0));
    hear("received", plain);
    STEP("connect back", connect(out, SA(a), sizeof a));
    STEP("first", send(out, "k", 1, MSG_MORE));
    none.sin_family = AF_UNSPEC;
    STEP("disconnect", connect(out, SA(none), sizeof none));
    STEP("last", send(out, "e", 1, 0));
    hear("received", in);
    STEP("none", send(out, "e", 1, 0));
    hear_nothing("no more", in);
}

static void more_errors(void) { // what an error leaves
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    STEP("no bytes", send(out, "", 0, MSG_MORE));
    STEP("no bytes", send(out, "", 0, 0));
    hear("received", in);
    static const size_t lengths[][3] = {{60000, 6000, 1}, {65507, 1, 0}, {65508, 1, 1}, {65536, 1, 1},
                                        {30000, 35507, 0}, {1, 65506, 1}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        STEP("long", send(out, big, lengths[i][0], MSG_MORE));
        STEP("longer", send(out, big, lengths[i][1], MSG_MORE));
        STEP("last", send(out, big, lengths[i][2], 0));
        STEP("after", send(out, "after", 5, 0));
        for (int count = 0; count < 2; count++) {
            await_in(in);
            char text[16];
            long length = recv(in, text, sizeof text, MSG_DONTWAIT | MSG_TRUNC);
            say("received: %ld", length);
            if (length == 5) break;
        }
    }
    STEP("first", send(out, "k", 1, MSG_MORE));
    STEP("last too long", send(out, big, 65507, 0));
    STEP("next", send(out, "e", 1, 0));
    hear("received", in);
    STEP("first", send(out, "k", 1, MSG_MORE));
    STEP("beyond any datagram", send(out, big, 65536, 0));
    STEP("last", send(out, "e", 1, 0));
    hear("received", in);
    STEP("first", send(out, "k", 1, MSG_MORE));
    STEP("bad pointer", send(out, (void *)8, 10, MSG_MORE));
    STEP("next", send(out, "e", 1, 0));
    hear("received", in);
    STEP("first", send(out, "k", 1, MSG_MORE));
    STEP("shut", shutdown(out, SHUT_WR));
    STEP("last", send(out, "e", 1, 0));
    hear("received", in);
    STEP("shut", send(out, "e", 1, MSG_MORE));
}

static void copied_first(void) { // a copy of the descriptor that is older than the connection
    int in = receiver(), out = sender();
    int copy = MUST(dup(out));
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    STEP("by the copy", send(copy, "copy", 4, 0));
    hear("received", in);
    MUST(close(out));
    STEP("by the copy alone", send(copy, "alone", 5, 0));
    hear("received", in);
}

static void more_ways(void) { // by every call, by every sharer
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    int copy = MUST(dup(out));
    struct iovec parts[2] = {{"ab", 2}, {"cde", 3}};
    struct mmsghdr batch[3] = {0};
    for (int i = 0; i < 3; i++) batch[i].msg_hdr = (struct msghdr){.msg_iov = parts, .msg_iovlen = 2};
    STEP("sendmsg", sendmsg(out, &batch[0].msg_hdr, MSG_MORE));
    STEP("sendmmsg", sendmmsg(copy, batch, 3, MSG_MORE));
    STEP("writev", writev(out, parts, 2));
    hear("received", in);
    STEP("first", send(out, "parent ", 7, MSG_MORE));
    pid_t child = fork();
    if (child == 0) {
        STEP("last", send(out, "child", 5, 0));
        _exit(0);
    }
    await_child("child", child);
    hear("received", in); // what two processes send has no order
    STEP("plain", send(out, "plain", 5, 0));
    hear("received", in);
    int file = MUST(memfd_create("file", 0)), ends[2];
    for (int i = 0; i < 10000; i++) big[i] = i % 251;
    MUST(write(file, big, 10000));
    off_t from = 100;
    STEP("sendfile", sendfile(out, file, &from, 9000));
    say("offset: %ld", (long)from);
    hear_length("received", in);
    STEP("rest", sendfile(out, file, &from, 9000));
    hear_length("received", in);
    STEP("end", sendfile(out, file, &from, 9000));
    MUST(pipe(ends));
    MUST(write(ends[1], "piped ", 6));
    STEP("splice", splice(ends[0], NULL, out, NULL, 6, SPLICE_F_MORE));
    STEP("last", send(out, "and sent", 8, 0));
    hear("received", in);
    int gone = sender();
    STEP("never finished", sendto(gone, "x", 1, MSG_MORE, SA(a), sizeof a));
    STEP("close", close(gone));
    STEP("next", send(out, "next", 4, 0));
    hear("received", in);
}

static void corked(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    say("corked: %d", option(out, IPPROTO_UDP, UDP_CORK));
    STEP("cork before anything", on(out, IPPROTO_UDP, UDP_CORK));
    STEP("send", tell(out, "a"));
    STEP("send", tell(out, "b"));
    say("corked: %d", option(out, IPPROTO_UDP, UDP_CORK));
    STEP("cork again", set(out, IPPROTO_UDP, UDP_CORK, 5));
    STEP("send", tell(out, "c"));
    STEP("uncork", set(out, IPPROTO_UDP, UDP_CORK, 0));
    hear("received", in);
    STEP("send", tell(out, "plain"));
    hear("received", in);
    MUST(connect(out, SA(a), sizeof a));
    STEP("more", send(out, "x", 1, MSG_MORE));
    STEP("uncork", set(out, IPPROTO_UDP, UDP_CORK, 0));
    hear("received", in);
    STEP("cork", on(out, IPPROTO_UDP, UDP_CORK));
    STEP("uncork", set(out, IPPROTO_UDP, UDP_CORK, 0));
    STEP("cork", on(out, IPPROTO_UDP, UDP_CORK));
    STEP("nothing", send(out, "", 0, 0));
    STEP("uncork", set(out, IPPROTO_UDP, UDP_CORK, 0));
    hear("received", in);
    STEP("cork", on(out, IPPROTO_UDP, UDP_CORK));
    STEP("all there is room for", send(out, big, 65507, 0));
    STEP("one too many", send(out, "x", 1, 0));
    STEP("uncork", set(out, IPPROTO_UDP, UDP_CORK, 0));
    STEP("plain", send(out, "plain", 5, 0));
    hear("received", in);
    STEP("other options", set(out, IPPROTO_IP, IP_TOS, 16));
    STEP("cork", on(out, IPPROTO_UDP, UDP_CORK));
    for (int i = 0; i < 100; i++) MUST(dprintf(out, "%d ", i));
    STEP("uncork", set(out, IPPROTO_UDP, UDP_CORK, 0));
    hear("received", in);
    STEP("short", setsockopt(out, IPPROTO_UDP, UDP_CORK, &a, 2));
    STEP("null", setsockopt(out, IPPROTO_UDP, UDP_CORK, NULL, 4));
    // A member that sends: its own socket is not what its datagrams go through.
    STEP("member connects", connect(in, SA(a), sizeof a));
    STEP("cork", on(in, IPPROTO_UDP, UDP_CORK));
    STEP("send", send(in, "by a ", 5, 0));
    STEP("send", send(in, "member", 6, 0));
    STEP("uncork", set(in, IPPROTO_UDP, UDP_CORK, 0));
    int witness = receiver();
    STEP("and more", send(in, "and ", 4, MSG_MORE));
    STEP("last", send(in, "more", 4, 0));
    hear("received", witness);
}

static void more_6(void) {
    int in = receiver6(), out = sender6();
    struct sockaddr_in6 a = at6(GROUP_6, PORT);
    STEP("first", sendto(out, "one ", 4, MSG_MORE, SA(a), sizeof a));
    STEP("last", tell6(out, "two", 3));
    hear("received", in);
    STEP("long", sendto(out, big, 65526, MSG_MORE, SA(a), sizeof a));
    STEP("last", tell6(out, "x", 1));
    hear_length("received", in);
    STEP("long", sendto(out, big, 65527, MSG_MORE, SA(a), sizeof a));
    STEP("too long", tell6(out, "x", 1));
    STEP("next", tell6(out, "next", 4));
    hear("received", in);
}

static void from_file(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    int file = MUST(memfd_create("file", 0));
    write(file, "bytes of a file", 15);
    off_t from = 0;
    STEP("sendfile", sendfile(out, file, &from, 15));
    say("offset: %ld", (long)from);
    hear("received", in);
    from = 9;
    STEP("sendfile of a part", sendfile(out, file, &from, 100));
    hear("received", in);
    STEP("send", send(out, "after", 5, 0));
    hear("received", in);
}

static void spliced(void) {
    int in = receiver(), out = sender(), ends[2];
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    MUST(pipe(ends));
    write(ends[1], "through a pipe", 14);
    STEP("splice", splice(ends[0], NULL, out, NULL, 14, 0));
    hear("received", in);
    STEP("send", send(out, "after", 5, 0));
    hear("received", in);
}

static void sent_before_close(void) {
    int in = receiver();
    for (int i = 0; i < 20; i++) {
        int out = sender();
        char text[16];
        snprintf(text, sizeof text, "last words %d", i);
        STEP("send", tell(out, text));
        STEP("close", close(out));
    }
    for (int i = 0; i < 20; i++) hear("received", in);
}

static void sent_before_exit(void) {
    int in = receiver();
    for (int i = 0; i < 10; i++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            int out = sender();
            char text[32];
            snprintf(text, sizeof text, "from child %d", i);
            tell(out, text);
            _exit(0);
        }
        await_child("child", child);
    }
    // They come from different processes, so only each sender's own order is promised.
    int heard[10] = {0};
    for (int i = 0; i < 10; i++) {
        char text[32] = {0};
        int child = 0;
        await_in(in);
        recv(in, text, sizeof text - 1, MSG_DONTWAIT);
        if (sscanf(text, "from child %d", &child) == 1 && child >= 0 && child < 10) heard[child]++;
    }
    for (int i = 0; i < 10; i++) say("child %d heard: %d", i, heard[i]);
    hear_nothing("no more", in);
}

static void send_order(void) {
    // What one socket sent first arrives first, whatever call was used and whatever its size.
    enum { COUNT = 2000, WINDOW = 50 };
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    for (uint32_t i = 0; i < COUNT + WINDOW; i++) {
        if (i < COUNT) {
            size_t length = 4 + i % 1000;
            memcpy(big, &i, 4);
            struct iovec part = {big, length};
            struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
            struct mmsghdr one = {.msg_hdr = message};
            switch (i % 6) {
            case 0: MUST(send(out, big, length, 0)); break;
            case 1: MUST(sendto(out, big, length, 0, SA(a), sizeof a)); break;
            case 2: MUST(write(out, big, length)); break;
            case 3: MUST(writev(out, &part, 1)); break;
            case 4: MUST(sendmsg(out, &message, 0)); break;
            case 5: MUST(sendmmsg(out, &one, 1, 0)); break;
            }
        }
        if (i < WINDOW) continue;
        uint32_t number = 0, expected = i - WINDOW;
        char text[1200];
        await_in(in);
        long length = recv(in, text, sizeof text, MSG_DONTWAIT);
        memcpy(&number, text, 4);
        if (number != expected || length != 4 + expected % 1000) {
            say("wrong at %u: %u of %ld bytes", expected, number, length);
            return;
        }
    }
    say("all in order");
}

static void pointers(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    STEP("address", sendto(out, "x", 1, 0, (struct sockaddr *)8, sizeof a));
    STEP("buffer", sendto(out, (void *)8, 100, 0, SA(a), sizeof a));
    STEP("null buffer", sendto(out, NULL, 100, 0, SA(a), sizeof a));
    struct iovec part = {(void *)8, 10};
    struct msghdr message = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &part, .msg_iovlen = 1};
    STEP("part", sendmsg(out, &message, 0));
    message.msg_iov = (struct iovec *)8;
    STEP("parts", sendmsg(out, &message, 0));
    STEP("message", sendmsg(out, (struct msghdr *)8, 0));
    STEP("batch", sendmmsg(out, (struct mmsghdr *)8, 2, 0));
    MUST(connect(out, SA(a), sizeof a));
    STEP("write", write(out, (void *)8, 10));
    STEP("writev", writev(out, (struct iovec *)8, 2));
    MUST(tell(out, "still works"));
    hear("received", in);
}

static void unmapped(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    static const int protections[] = {-1, PROT_NONE, PROT_READ};
    for (int i = 0; i < 3; i++) {
        char *edge = half_there(protections[i]);
        STEP("up to the edge", send(out, edge - 10, 10, 0));
        hear("received", in);
        STEP("over the edge", send(out, edge - 10, 11, 0));
        STEP("beyond", write(out, edge, 1));
        STEP("far", sendto(out, edge - 4096, 8192, 0, SA(a), sizeof a));
        STEP("no bytes", send(out, edge, 0, 0));
        struct iovec parts[2] = {{"good ", 5}, {edge - 5, 6}};
        STEP("second part", writev(out, parts, 2));
        STEP("collected", send(out, "first ", 6, MSG_MORE));
        STEP("bad piece", send(out, edge - 1, 2, MSG_MORE));
        MUST(send(out, "last", 4, 0));
        for (bool is_last = false; !is_last;) {
            static char all[9000];
            await_in(in);
            long length = MUST(recv(in, all, sizeof all, MSG_DONTWAIT));
            say("received: %ld %08x", length, sum_of(all, length));
            is_last = length >= 4 && memcmp(all + length - 4, "last", 4) == 0;
        }
    }
}

static long send_segments(int out, size_t length, int segment, int controls) {
    struct sockaddr_in group = at(GROUP, PORT);
    struct iovec parts[2] = {{big, length / 3}, {big + length / 3, length - length / 3}};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(uint16_t)), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT}};
    *(uint16_t *)CMSG_DATA(&control.head) = segment;
    struct msghdr message = {.msg_name = &group, .msg_namelen = sizeof group, .msg_iov = parts, .msg_iovlen = 2,
                             .msg_control = &control, .msg_controllen = controls ? sizeof control.room : 0};
    return sendmsg(out, &message, 0);
}
static void hear_lengths(const char *name, int in, int count) {
    for (int i = 0; i < count; i++) {
        char text[BIG];
        await_in(in);
        errno = 0;
        long length = recv(in, text, sizeof text, MSG_DONTWAIT);
        say("%s: %ld %08x", name, length, sum_of(text, length > 0 ? length : 0));
    }
}
static void segments(void) {
    int in = receiver(), out = sender();
    for (int i = 0; i < BIG; i++) big[i] = (char)(i * 7);
    STEP("cut by a control message", send_segments(out, 2500, 1000, true));
    hear_lengths("part", in, 3);
    STEP("not cut", send_segments(out, 900, 1000, true));
    hear_lengths("whole", in, 1);
    STEP("set", set(out, SOL_UDP, UDP_SEGMENT, 400));
    STEP("cut by the option", send_segments(out, 1000, 0, false));
    hear_lengths("part", in, 3);
    STEP("cut by the option", tell_to(out, GROUP, PORT, big, 800));
    hear_lengths("part", in, 2);
    STEP("the message goes before the option", send_segments(out, 1000, 600, true));
    hear_lengths("part", in, 2);
    STEP("too many", send_segments(out, 1000, 1, true));
    STEP("unset", set(out, SOL_UDP, UDP_SEGMENT, 0));
    STEP("not cut", send_segments(out, 1000, 0, false));
    hear_lengths("whole", in, 1);
}

MAIN(CASE(segments), CASE(sizes), CASE(sizes_6), CASE(errors), CASE(gather), CASE(many), CASE(many_targets),
     CASE(loop_off), CASE(copied_first), CASE(loop_off_elsewhere), CASE(more), CASE(more_targets), CASE(more_errors),
     CASE(more_ways), CASE(corked), CASE(more_6), CASE(from_file), CASE(spliced),
     CASE(sent_before_close), CASE(sent_before_exit), CASE(send_order), CASE(pointers), CASE(unmapped))
