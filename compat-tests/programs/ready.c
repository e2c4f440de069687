// poll, ppoll, select, pselect, epoll: when a socket is ready, and when it is not.
#include "steps.h"

static int epoll_with(int fd, uint32_t events) {
    int set = MUST(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = events, .data.u64 = 0x1122334455667788};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    return set;
}
static void wait_on(const char *name, int set, int timeout_ms) {
    struct epoll_event events[4] = {0};
    errno = 0;
    int count = epoll_wait(set, events, 4, timeout_ms);
    if (count == 1)
        say("%s: events %x, own word kept %d", name, events[0].events,
            events[0].data.u64 == 0x1122334455667788);
    else
        step(name, count);
}
static void take(int fd) {
    char text[64];
    if (recv(fd, text, sizeof text, MSG_DONTWAIT) == -1) say("take: %s", strerrorname_np(errno));
}
// Both of two datagrams have arrived when the second receiver has seen both.
static void tell_twice(int out, int witness) {
    MUST(tell(out, "one"));
    MUST(tell(out, "two"));
    for (int i = 0; i < 2; i++) {
        await_in(witness);
        take(witness);
    }
}

static void with_poll(void) {
    int in = receiver(), out = sender();
    struct pollfd p = {.fd = in, .events = POLLIN | POLLOUT | POLLPRI};
    STEP("empty", poll(&p, 1, 0));
    say("events: %x", p.revents);
    p.events = POLLIN;
    STEP("empty", poll(&p, 1, 0));
    STEP("empty for a while", poll(&p, 1, 30));
    MUST(tell(out, "one"));
    MUST(tell(out, "two"));
    STEP("ready", poll(&p, 1, 8000));
    say("events: %x", p.revents);
    STEP("still ready", poll(&p, 1, 0));
    take(in);
    STEP("still ready for the second", poll(&p, 1, 8000));
    take(in);
    STEP("empty", poll(&p, 1, 0));
    p.events = POLLIN | POLLRDNORM | POLLRDBAND;
    MUST(tell(out, "three"));
    STEP("ready", poll(&p, 1, 8000));
    say("events: %x", p.revents);
    struct timespec limit = {8, 0}, none = {0, 0};
    STEP("ppoll", ppoll(&p, 1, &limit, NULL));
    take(in);
    STEP("ppoll empty", ppoll(&p, 1, &none, NULL));
    p.events = 0;
    MUST(tell(out, "four"));
    await_in(in);
    STEP("nothing asked", poll(&p, 1, 0));
    struct pollfd both[3] = {{.fd = in, .events = POLLIN}, {.fd = -1, .events = POLLIN}, {.fd = 999, .events = POLLIN}};
    STEP("with odd ones", poll(both, 3, 0));
    say("events: %x %x %x", both[0].revents, both[1].revents, both[2].revents);
    take(in);
    // Never ready without something to take.
    for (int i = 0; i < 1000; i++) {
        MUST(tell(out, "x"));
        p.events = POLLIN;
        if (poll(&p, 1, 8000) != 1) say("round %d: not ready", i);
        take(in);
        if (poll(&p, 1, 0) != 0) say("round %d: ready and empty", i);
    }
    say("rounds: done");
}

static void with_select(void) {
    int in = receiver(), out = sender();
    fd_set readable, writable, odd;
    struct timeval limit = {0, 0};
#define ALL(fd)                                                                                   \
    do {                                                                                          \
        FD_ZERO(&readable);                                                                       \
        FD_ZERO(&writable);                                                                       \
        FD_ZERO(&odd);                                                                            \
        FD_SET(fd, &readable);                                                                    \
        FD_SET(fd, &odd);                                                                         \
    } while (0)
    ALL(in);
    STEP("empty", select(in + 1, &readable, NULL, &odd, &limit));
    MUST(tell(out, "one"));
    ALL(in);
    limit.tv_sec = 8;
    STEP("ready", select(in + 1, &readable, NULL, &odd, &limit));
    say("sets: %d %d", FD_ISSET(in, &readable) != 0, FD_ISSET(in, &odd) != 0);
    say("time is left: %d", limit.tv_sec >= 1);
    ALL(in);
    FD_SET(out, &writable);
    struct timespec fine = {8, 0};
    STEP("pselect", pselect((in > out ? in : out) + 1, &readable, &writable, NULL, &fine, NULL));
    take(in);
    ALL(in);
    limit = (struct timeval){0, 20000};
    STEP("empty for a while", select(in + 1, &readable, NULL, NULL, &limit));
    say("set: %d", FD_ISSET(in, &readable) != 0);
    int closed = MUST(dup(in));
    close(closed);
    FD_ZERO(&readable);
    FD_SET(closed, &readable);
    STEP("bad descriptor", select(closed + 1, &readable, NULL, NULL, &limit));
}

static void level(void) {
    int in = receiver(), out = sender(), set = epoll_with(in, EPOLLIN);
    wait_on("empty", set, 0);
    MUST(tell(out, "one"));
    MUST(tell(out, "two"));
    wait_on("ready", set, 8000);
    wait_on("still ready", set, 0);
    take(in);
    wait_on("ready for the second", set, 8000);
    take(in);
    wait_on("empty", set, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI, .data.u64 = 0x1122334455667788};
    STEP("modify", epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
    wait_on("writable", set, 0);
    STEP("add again", epoll_ctl(set, EPOLL_CTL_ADD, in, &event));
    STEP("delete", epoll_ctl(set, EPOLL_CTL_DEL, in, &event));
    STEP("delete again", epoll_ctl(set, EPOLL_CTL_DEL, in, &event));
    STEP("modify what is not there", epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
    STEP("bad descriptor", epoll_ctl(set, EPOLL_CTL_ADD, 999, &event));
    STEP("itself", epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
    STEP("bad operation", epoll_ctl(set, 77, in, &event));
    STEP("bad set", epoll_ctl(in, EPOLL_CTL_ADD, out, &event));
    STEP("no events", epoll_wait(set, &event, 0, 0));
    STEP("bad wait", epoll_wait(in, &event, 1, 0));
    wait_on("deleted", set, 0);
}

static void edge(void) {
    int in = receiver(), witness = receiver(), out = sender(), set = epoll_with(in, EPOLLIN | EPOLLET);
    wait_on("empty", set, 0);
    MUST(tell(out, "one"));
    wait_on("first edge", set, 8000);
    wait_on("no new edge", set, 0);
    take(in);
    wait_on("empty", set, 0);
    MUST(tell(out, "two"));
    wait_on("second edge", set, 8000);
    // Not taken: what arrives next makes an edge of its own.
    take(witness);
    await_in(witness);
    take(witness);
    MUST(tell(out, "three"));
    wait_on("an edge per arrival", set, 8000);
    take(in);
    wait_on("taking makes no edge", set, 0);
    take(in);
    hear_nothing("empty", in);
    MUST(tell(out, "four"));
    wait_on("edge after empty", set, 8000);
    take(in);
    // As most programs do: drain until EAGAIN after each edge, while others send.
    int heard = 0;
    pid_t child = MUST(fork());
    if (child == 0) {
        int own = sender();
        for (int i = 0; i < 3000; i++) {
            tell(own, "burst");
            if (i % 40 == 0) poll(NULL, 0, 1); // natively a queue holds some 250 of these
        }
        _exit(0);
    }
    while (heard < 3000) {
        struct epoll_event event;
        int ready = epoll_wait(set, &event, 1, 8000);
        if (ready != 1) {
            say("no edge after %d", heard);
            break;
        }
        char text[64];
        while (recv(in, text, sizeof text, MSG_DONTWAIT) > 0) heard++;
    }
    say("burst: %d", heard);
    await_child("child", child);
    // One read per edge, which works only when every arrival is an edge.
    hear_nothing("empty", in);
    for (int i = 0; i < 200; i++) {
        MUST(tell(out, "each"));
        struct epoll_event event;
        if (epoll_wait(set, &event, 1, 8000) != 1) {
            say("no edge at %d", i);
            break;
        }
        take(in);
    }
    say("one by one: done");
}

static void edge_added_late(void) {
    int in = receiver(), out = sender();
    MUST(tell(out, "one"));
    await_in(in);
    int set = epoll_with(in, EPOLLIN | EPOLLET);
    wait_on("ready when added", set, 8000);
    wait_on("once", set, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1122334455667788};
    STEP("modify", epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
    wait_on("again after modify", set, 8000);
    take(in);
    int both = epoll_with(in, EPOLLIN | EPOLLOUT | EPOLLET);
    wait_on("writable edge", both, 8000);
    wait_on("once", both, 0);
}

static void one_shot(void) {
    int in = receiver(), witness = receiver(), out = sender(), set = epoll_with(in, EPOLLIN | EPOLLONESHOT);
    tell_twice(out, witness);
    wait_on("once", set, 8000);
    wait_on("not again", set, 0);
    take(in);
    wait_on("not again", set, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 0x1122334455667788};
    STEP("rearm", epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
    wait_on("the second", set, 8000);
    take(in);
    STEP("rearm", epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
    wait_on("empty", set, 0);
    MUST(tell(out, "three"));
    wait_on("the third", set, 8000);
}

// Node registers its socket before it joins; others duplicate it before.
static void registered_before_join(void) {
    int in = udp(), out = sender();
    int early = epoll_with(in, EPOLLIN), early_copy = MUST(dup(in));
    MUST(on(in, SOL_SOCKET, SO_REUSEADDR));
    bind_for(in, GROUP, PORT);
    int bound = epoll_with(in, EPOLLIN | EPOLLET);
    MUST(join(in, GROUP));
    int joined = epoll_with(in, EPOLLIN);
    MUST(tell(out, "x"));
    wait_on("registered before bind", early, 8000);
    wait_on("registered before join", bound, 8000);
    wait_on("registered after join", joined, 8000);
    STEP("the early copy is ready", in_within(early_copy, 8000));
    hear("received by the early copy", early_copy);
    wait_on("before bind, empty", early, 0);
    wait_on("after join, empty", joined, 0);
    struct epoll_event event = {.events = EPOLLIN};
    STEP("modify the early one", epoll_ctl(early, EPOLL_CTL_MOD, in, &event));
    STEP("delete the early one", epoll_ctl(early, EPOLL_CTL_DEL, in, &event));
}

static void nested(void) {
    int in = receiver(), out = sender(), inner = epoll_with(in, EPOLLIN), outer = epoll_with(inner, EPOLLIN);
    STEP("inner is empty", in_within(inner, 0));
    MUST(tell(out, "x"));
    wait_on("outer", outer, 8000);
    STEP("inner by poll", in_within(inner, 8000));
    wait_on("inner", inner, 0);
    take(in);
    wait_on("outer empty", outer, 0);
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(inner, &readable);
    MUST(tell(out, "y"));
    struct timeval limit = {8, 0};
    STEP("inner by select", select(inner + 1, &readable, NULL, NULL, &limit));
}

static void two_sets(void) {
    int in = receiver(), out = sender(), one = epoll_with(in, EPOLLIN), two = epoll_with(in, EPOLLIN | EPOLLEXCLUSIVE);
    MUST(tell(out, "x"));
    wait_on("one", one, 8000);
    wait_on("two", two, 8000);
    take(in);
    wait_on("one empty", one, 0);
    wait_on("two empty", two, 0);
    STEP("close", close(in));
    wait_on("one after close", one, 0);
}

static void mixed(void) { // group sockets beside everything else in one set
    int in = receiver(), in_2 = receiver_of(GROUP_2, PORT), out = sender(), ends[2], pair[2];
    MUST(pipe(ends));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    int all[] = {in, in_2, ends[0], pair[0]};
    int set = MUST(epoll_create1(0));
    for (int i = 0; i < 4; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        MUST(epoll_ctl(set, EPOLL_CTL_ADD, all[i], &event));
    }
    write(ends[1], "p", 1);
    MUST(tell_to(out, GROUP_2, PORT, "g", 1));
    write(pair[1], "s", 1);
    await_in(in_2);
    struct epoll_event events[8];
    int count = STEP("ready", epoll_wait(set, events, 8, 8000));
    unsigned seen = 0;
    for (int i = 0; i < count; i++) seen |= 1u << events[i].data.u32;
    say("which: %x", seen);
    struct pollfd polls[4];
    for (int i = 0; i < 4; i++) polls[i] = (struct pollfd){.fd = all[i], .events = POLLIN};
    STEP("by poll", poll(polls, 4, 8000));
    say("which: %x %x %x %x", polls[0].revents, polls[1].revents, polls[2].revents, polls[3].revents);
    struct timespec limit = {8, 0};
    STEP("epoll_pwait2", epoll_pwait2(set, events, 8, &limit, NULL));
    sigset_t none;
    sigemptyset(&none);
    STEP("epoll_pwait", epoll_pwait(set, events, 8, 8000, &none));
}

static void pointers(void) {
    int in = receiver(), out = sender(), set = epoll_with(in, EPOLLIN);
    MUST(tell(out, "x"));
    await_in(in);
    STEP("poll", poll((struct pollfd *)8, 1, 0));
    STEP("ppoll", ppoll((struct pollfd *)8, 1, NULL, NULL));
    STEP("select", select(in + 1, (fd_set *)8, NULL, NULL, NULL));
    STEP("epoll_wait", epoll_wait(set, (struct epoll_event *)8, 1, 0));
    STEP("epoll_ctl", epoll_ctl(set, EPOLL_CTL_MOD, in, (struct epoll_event *)8));
    hear("received", in);
}

// Somebody sleeps in each of these calls when the datagram comes.
static int slept_in;
static pid_t sleeper;
static void *send_to_sleeper(void *unused) {
    await_asleep(getpid(), sleeper);
    int out = sender();
    tell(out, "wake up");
    return NULL;
}
static void woken(const char *name, int in, int how) {
    pthread_t thread;
    sleeper = gettid();
    slept_in = in;
    pthread_create(&thread, NULL, send_to_sleeper, NULL);
    struct pollfd p = {.fd = in, .events = POLLIN};
    struct timespec limit = {8, 0};
    struct timeval coarse = {8, 0};
    struct epoll_event event;
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(in, &readable);
    int set = epoll_with(in, EPOLLIN | (how == 7 ? EPOLLET : 0));
    char text[64];
    struct iovec part = {text, sizeof text};
    struct mmsghdr one = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    switch (how) {
    case 0: STEP(name, poll(&p, 1, 8000)); break;
    case 1: STEP(name, poll(&p, 1, -1)); break;
    case 2: STEP(name, ppoll(&p, 1, &limit, NULL)); break;
    case 3: STEP(name, select(in + 1, &readable, NULL, NULL, &coarse)); break;
    case 4: STEP(name, pselect(in + 1, &readable, NULL, NULL, NULL, NULL)); break;
    case 5: STEP(name, epoll_wait(set, &event, 1, 8000)); break;
    case 6: STEP(name, epoll_pwait(set, &event, 1, -1, NULL)); break;
    case 7: STEP(name, epoll_wait(set, &event, 1, -1)); break;
    case 8: STEP(name, recv(in, text, sizeof text, 0)); break;
    case 9: STEP(name, read(in, text, sizeof text)); break;
    case 10: STEP(name, recvmsg(in, &one.msg_hdr, 0)); break;
    case 11: STEP(name, recvmmsg(in, &one, 1, 0, NULL)); break;
    case 12: STEP(name, readv(in, &part, 1)); break;
    case 13: STEP(name, recv(in, text, sizeof text, MSG_PEEK)); break;
    }
    pthread_join(thread, NULL);
    if (how < 8 || how == 13) take(in);
    STEP("empty", in_within(in, 0));
    close(set);
}
static void wake(void) {
    int in = receiver();
    static const char *names[] = {"poll", "poll for ever", "ppoll", "select", "pselect", "epoll_wait",
                                  "epoll_pwait", "edge", "recv", "read", "recvmsg", "recvmmsg",
                                  "readv", "peek"};
    for (int round = 0; round < 3; round++)
        for (int how = 0; how < 14; how++) woken(names[how], in, how);
}

MAIN(CASE(with_poll), CASE(with_select), CASE(level), CASE(edge), CASE(edge_added_late), CASE(one_shot),
     CASE(registered_before_join), CASE(nested), CASE(two_sets), CASE(mixed), CASE(wake), CASE(pointers))
