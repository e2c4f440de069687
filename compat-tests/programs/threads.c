// Threads on one socket: sharing, waking, closing, cancelling.
#include "steps.h"

enum { COUNT = 4000, READERS = 4 };
static int shared;
static _Atomic uint32_t taken;
static _Atomic uint8_t seen[COUNT];
static _Atomic int order_broken;

static void *reader(void *how) {
    uint32_t number = 0, before = 0;
    bool first = true;
    struct iovec part = {&number, sizeof number};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    for (;;) {
        long length = (long)how == 0   ? recv(shared, &number, sizeof number, 0)
                      : (long)how == 1 ? read(shared, &number, sizeof number)
                                       : recvmsg(shared, &message, 0);
        if (length != sizeof number || number == UINT32_MAX) return NULL;
        if (!first && number <= before) order_broken = 1;
        first = false;
        before = number;
        seen[number % COUNT]++;
        taken++;
    }
}

static void each_once(void) {
    int out = sender();
    shared = receiver();
    pthread_t threads[READERS];
    for (long i = 0; i < READERS; i++) pthread_create(&threads[i], NULL, reader, (void *)(i % 3));
    for (uint32_t i = 0; i < COUNT; i++) {
        while (i - taken > 100) sched_yield(); // natively the queue holds some 250
        MUST(tell_to(out, GROUP, PORT, &i, sizeof i));
    }
    while (taken < COUNT) sched_yield();
    uint32_t last = UINT32_MAX;
    for (int i = 0; i < READERS; i++) MUST(tell_to(out, GROUP, PORT, &last, sizeof last));
    for (int i = 0; i < READERS; i++) pthread_join(threads[i], NULL);
    int once = 0;
    for (int i = 0; i < COUNT; i++) once += seen[i] == 1;
    say("each once: %d, every thread in order: %d", once == COUNT, !order_broken);
}

static void *writer(void *which) {
    for (uint32_t n = 0; n < 1000; n++) {
        while (n > taken / READERS + 20) sched_yield();
        uint32_t words[2] = {(uint32_t)(long)which, n};
        MUST(tell_to(shared, GROUP, PORT, words, sizeof words));
    }
    return NULL;
}

static void all_send(void) { // several threads on one sending socket, one reader
    int in = receiver();
    shared = sender();
    pthread_t threads[READERS];
    uint32_t next[READERS] = {0};
    for (long i = 0; i < READERS; i++) pthread_create(&threads[i], NULL, writer, (void *)i);
    for (int i = 0; i < READERS * 1000; i++) {
        uint32_t words[2];
        await_in(in);
        if (recv(in, words, sizeof words, MSG_DONTWAIT) != sizeof words || words[0] >= READERS ||
            words[1] != next[words[0]]++) {
            say("wrong at %d", i);
            _exit(3);
        }
        taken++;
    }
    for (int i = 0; i < READERS; i++) pthread_join(threads[i], NULL);
    say("all in order");
}

static void *echo(void *unused) { // sends and receives on the same socket as the main thread
    for (int i = 0; i < 1000; i++) {
        MUST(tell(shared, "ping"));
        while (taken <= (uint32_t)i) sched_yield();
    }
    return NULL;
}
static void send_and_receive(void) {
    shared = receiver();
    struct in_addr interface;
    inet_pton(AF_INET, address(), &interface);
    MUST(setsockopt(shared, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface));
    pthread_t thread;
    pthread_create(&thread, NULL, echo, NULL);
    char text[16];
    while (taken < 1000) {
        if (recv(shared, text, sizeof text, 0) == 4) taken++;
    }
    pthread_join(thread, NULL);
    say("pings: %u", taken);
}

static _Atomic pid_t blocked_thread;
static _Atomic long blocked_result;
static _Atomic int blocked_errno, blocked_done;
static void *block(void *how) {
    char text[64];
    struct pollfd p = {.fd = shared, .events = POLLIN};
    blocked_thread = gettid();
    errno = 0;
    blocked_result = (long)how == 0   ? recv(shared, text, sizeof text, 0)
                     : (long)how == 1 ? read(shared, text, sizeof text)
                                      : poll(&p, 1, -1);
    blocked_errno = errno;
    blocked_done = 1;
    return NULL;
}
static pthread_t start_blocked(long how) {
    pthread_t thread;
    blocked_thread = 0;
    blocked_done = 0;
    pthread_create(&thread, NULL, block, (void *)how);
    while (!blocked_thread) sched_yield();
    await_asleep(getpid(), blocked_thread);
    return thread;
}

static void shutdown_wakes(void) {
    for (long how = 0; how < 3; how++) {
        shared = receiver();
        pthread_t thread = start_blocked(how);
        STEP("shutdown", shutdown(shared, SHUT_RD));
        pthread_join(thread, NULL);
        say("woken: %ld", blocked_result);
        STEP("close", close(shared));
    }
}

static void close_while_blocked(void) {
    // The reader may go on or get EBADF; what is promised is that nothing breaks and that the
    // number is free for others.
    shared = receiver();
    pthread_t thread = start_blocked(0);
    int number = shared;
    STEP("close", close(number));
    int fresh = receiver();
    say("same number: %d", fresh == number);
    int out = sender();
    MUST(tell(out, "for the new one"));
    hear("new", fresh);
    for (int i = 0; i < 200 && !blocked_done; i++) {
        MUST(tell(out, "wake"));
        poll(NULL, 0, 1);
    }
    if (!blocked_done) pthread_cancel(thread);
    pthread_join(thread, NULL);
    say("joined");
}

static void *cancelled(void *how) {
    char text[64];
    struct iovec part = {text, sizeof text};
    struct mmsghdr one = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    struct pollfd p = {.fd = shared, .events = POLLIN};
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(shared, &readable);
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0);
    epoll_ctl(set, EPOLL_CTL_ADD, shared, &event);
    blocked_thread = gettid();
    switch ((long)how) {
    case 0: recv(shared, text, sizeof text, 0); break;
    case 1: read(shared, text, sizeof text); break;
    case 2: recvfrom(shared, text, sizeof text, 0, NULL, NULL); break;
    case 3: recvmsg(shared, &one.msg_hdr, 0); break;
    case 4: recvmmsg(shared, &one, 1, 0, NULL); break;
    case 5: poll(&p, 1, -1); break;
    case 6: select(shared + 1, &readable, NULL, NULL, NULL); break;
    case 7: epoll_wait(set, &event, 1, -1); break;
    case 8: readv(shared, &part, 1); break;
    }
    return NULL;
}
static void cancel(void) {
    static const char *names[] = {"recv", "read", "recvfrom", "recvmsg", "recvmmsg", "poll", "select",
                                  "epoll_wait", "readv"};
    shared = receiver();
    int out = sender();
    for (long how = 0; how < 9; how++) {
        pthread_t thread;
        void *result = NULL;
        blocked_thread = 0;
        pthread_create(&thread, NULL, cancelled, (void *)how);
        while (!blocked_thread) sched_yield();
        await_asleep(getpid(), blocked_thread);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        say("%s: cancelled %d", names[how], result == PTHREAD_CANCELED);
        MUST(tell(out, "nothing is lost, no lock is held"));
        hear("received", shared);
    }
}

static struct sockaddr_in target;
static void *busy(void *how) { // never sleeps, so only its calls can end it
    char text[64];
    int out = sender();
    blocked_thread = gettid();
    for (;;) {
        if (!how) recv(shared, text, sizeof text, MSG_DONTWAIT);
        else {
            sendto(out, "x", 1, MSG_DONTWAIT, SA(target), sizeof target);
            recv(shared, text, sizeof text, MSG_DONTWAIT);
        }
    }
    return NULL;
}
static void cancel_busy(void) {
    shared = receiver();
    target = at(GROUP, PORT);
    MUST(tell(sender(), "first"));
    hear("received", shared);
    for (long how = 0; how < 2; how++) {
        pthread_t thread;
        void *result = NULL;
        blocked_thread = 0;
        pthread_create(&thread, NULL, busy, (void *)how);
        while (!blocked_thread) sched_yield();
        pthread_cancel(thread);
        pthread_join(thread, &result);
        say("%s: cancelled %d", how ? "both" : "receiving", result == PTHREAD_CANCELED);
    }
}

static void *opener(void *unused) { // sockets come and go while others work
    for (int i = 0; i < 200; i++) {
        int in = receiver_of(GROUP_2, PORT), file = open("/dev/null", O_RDONLY);
        char text[8];
        MUST(tell_to(in, GROUP_2, PORT_2, "x", 1));
        recv(in, text, sizeof text, MSG_DONTWAIT);
        close(in);
        read(file, text, sizeof text);
        close(file);
    }
    return NULL;
}
static void many_sockets(void) {
    int in = receiver(), out = sender();
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, opener, NULL);
    for (int i = 0; i < 300; i++) {
        char text[16], back[32] = {0};
        int length = snprintf(text, sizeof text, "number %d", i);
        MUST(tell_to(out, GROUP, PORT, text, length));
        await_in(in);
        if (recv(in, back, sizeof back, MSG_DONTWAIT) != length || strcmp(text, back)) say("wrong at %d: %s", i, back);
    }
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    say("done");
}

static void *forker(void *unused) { // children are made while other threads hold whatever they hold
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            int out = sender();
            tell_to(out, GROUP_2, PORT, "child", 5);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status) say("child: status %x", status);
    }
    blocked_done = 1;
    return NULL;
}
static void fork_among_threads(void) {
    shared = receiver();
    int out = sender();
    pthread_t thread;
    pthread_create(&thread, NULL, forker, NULL);
    while (!blocked_done) {
        MUST(tell(out, "parent"));
        await_in(shared);
        char text[16];
        MUST(recv(shared, text, sizeof text, MSG_DONTWAIT));
    }
    pthread_join(thread, NULL);
    say("done");
}

MAIN(CASE(each_once), CASE(all_send), CASE(send_and_receive), CASE(shutdown_wakes),
     CASE(close_while_blocked), CASE(cancel), CASE(cancel_busy), CASE(many_sockets), CASE(fork_among_threads))
