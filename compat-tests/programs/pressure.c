// A log that is full, which the kernel's sockets never are; and a group that is not for everybody.
//
// The group's log is small, and a member that does not read holds it: see tests/pressure.rs.
#include "steps.h"

static int in, out;
static char filler[1000];

// Sends until it would block; more than the log and the ring hold cannot be taken.
static long fill(void) {
    for (long count = 0; count < 1000000; count++) {
        errno = 0;
        if (tell_to(out, GROUP, PORT, filler, sizeof filler) == -1) {
            if (errno == EAGAIN && count > 0) {
                // What was taken may still move on: full is when it stays so.
                struct pollfd p = {.fd = out, .events = POLLOUT};
                if (poll(&p, 1, 300) == 1 && tell_to(out, GROUP, PORT, filler, sizeof filler) > 0) continue;
                poll(NULL, 0, 50);
                if (tell_to(out, GROUP, PORT, filler, sizeof filler) > 0) continue;
            }
            return count;
        }
    }
    return -1;
}
static long drain(long count) {
    char text[1200];
    long heard = 0;
    while (heard < count && (in_within(in, 3000) & POLLIN))
        if (recv(in, text, sizeof text, MSG_DONTWAIT) == sizeof filler) heard++;
    return heard;
}
static void start(void) {
    in = receiver();
    out = sender();
}

static void would_block(void) {
    start();
    fcntl(out, F_SETFL, O_NONBLOCK);
    long taken = fill();
    step("full", taken > 0 ? -1 : taken);
    STEP("again", tell_to(out, GROUP, PORT, filler, sizeof filler));
    STEP("with a flag", sendto(out, filler, 1, MSG_DONTWAIT, NULL, 0) == -1 && errno == EDESTADDRREQ);
    struct mmsghdr batch[2] = {0};
    struct sockaddr_in a = at(GROUP, PORT);
    struct iovec part = {filler, sizeof filler};
    for (int i = 0; i < 2; i++) batch[i].msg_hdr = (struct msghdr){&a, sizeof a, &part, 1, NULL, 0, 0};
    STEP("a batch", sendmmsg(out, batch, 2, 0));
    long heard = 0, more = 0;
    char text[1200];
    // Reading makes room, and everything that was taken is heard.
    while (heard < taken && in_within(in, 3000) & POLLIN)
        if (recv(in, text, sizeof text, MSG_DONTWAIT) == sizeof filler) heard++;
    say("all that was taken is heard: %d", heard >= taken);
    struct pollfd p = {.fd = out, .events = POLLOUT};
    STEP("writable", poll(&p, 1, 8000));
    for (int i = 0; i < 100; i++) more += tell_to(out, GROUP, PORT, filler, sizeof filler) == sizeof filler;
    say("more: %ld, heard: %ld", more, drain(100));
}

static void limited(void) { // a blocking send with a limit
    start();
    fcntl(out, F_SETFL, O_NONBLOCK);
    say("filled: %d", fill() > 0);
    fcntl(out, F_SETFL, 0);
    struct timeval limit = {0, 200000};
    MUST(setsockopt(out, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    STEP("with a limit", tell_to(out, GROUP, PORT, filler, sizeof filler));
}

static _Atomic pid_t thread_id;
static _Atomic int done;
static void *blocked_send(void *unused) {
    thread_id = gettid();
    errno = 0;
    long result = tell_to(out, GROUP, PORT, filler, sizeof filler);
    step("blocked send", result);
    done = 1;
    return NULL;
}
static void ignore(int number) {}
static void blocked(void) {
    start();
    fcntl(out, F_SETFL, O_NONBLOCK);
    say("filled: %d", fill() > 0);
    fcntl(out, F_SETFL, 0);
    struct sigaction action = {.sa_handler = ignore};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, blocked_send, NULL);
    while (!thread_id) sched_yield();
    await_asleep(getpid(), thread_id);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL); // EINTR
    thread_id = done = 0;
    pthread_create(&thread, NULL, blocked_send, NULL);
    while (!thread_id) sched_yield();
    await_asleep(getpid(), thread_id);
    say("still blocked: %d", !done);
    char text[1200];
    while (!done) {
        in_within(in, 1000);
        recv(in, text, sizeof text, MSG_DONTWAIT);
    }
    pthread_join(thread, NULL);
    fcntl(out, F_SETFL, O_NONBLOCK);
    fill();
    fcntl(out, F_SETFL, 0);
    thread_id = done = 0;
    pthread_create(&thread, NULL, blocked_send, NULL);
    while (!thread_id) sched_yield();
    await_asleep(getpid(), thread_id);
    void *result = NULL;
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say("cancelled: %d", result == PTHREAD_CANCELED);
}

static void edge_when_writable(void) { // who was told EAGAIN gets an edge when there is room again
    start();
    fcntl(out, F_SETFL, O_NONBLOCK);
    int set = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, out, &event));
    STEP("first edge", epoll_wait(set, &event, 1, 3000));
    say("filled: %d", fill() > 0);
    while (epoll_wait(set, &event, 1, 100) > 0) {} // what filling left behind
    STEP("full", tell_to(out, GROUP, PORT, filler, sizeof filler));
    while (in_within(in, 1000) & POLLIN) {
        char text[1200];
        recv(in, text, sizeof text, MSG_DONTWAIT);
    }
    STEP("edge", epoll_wait(set, &event, 1, 8000));
    STEP("send", tell_to(out, GROUP, PORT, filler, sizeof filler));
}

static int selects(int fd, int reads, int writes, int ms) { // POLLIN and POLLOUT, by select
    fd_set in_set, out_set;
    FD_ZERO(&in_set);
    FD_ZERO(&out_set);
    if (reads) FD_SET(fd, &in_set);
    if (writes) FD_SET(fd, &out_set);
    struct timeval limit = {ms / 1000, ms % 1000 * 1000};
    int count = select(fd + 1, &in_set, &out_set, NULL, ms < 0 ? NULL : &limit);
    int found = (FD_ISSET(fd, &in_set) ? POLLIN : 0) | (FD_ISSET(fd, &out_set) ? POLLOUT : 0);
    return count <= 0 ? count : found;
}
static int polls(int fd, int reads, int writes, int ms) { // the same by poll
    struct pollfd p = {.fd = fd, .events = (reads ? POLLIN : 0) | (writes ? POLLOUT : 0)};
    int count = poll(&p, 1, ms);
    return count <= 0 ? count : p.revents;
}

static void not_writable(void) { // who would have to wait is not told to send
    start();
    STEP("poll at first", polls(out, 0, 1, 1000));
    fcntl(out, F_SETFL, O_NONBLOCK);
    say("filled: %d", fill() > 0);
    STEP("poll", polls(out, 0, 1, 50));
    STEP("select", selects(out, 0, 1, 50));
    STEP("the other way, by poll", polls(in, 1, 1, 50));
    STEP("the other way, by select", selects(in, 1, 1, 50));
    while (in_within(in, 1000) & POLLIN) {
        char text[1200];
        recv(in, text, sizeof text, MSG_DONTWAIT);
    }
    STEP("poll with room", polls(out, 0, 1, 1000));
    STEP("select with room", selects(out, 0, 1, 1000));
}

// One thread and one blocking socket that asks before each call, and sends more than fits.
static void both_ways(void) {
    start();
    for (int way = 0; way < 2; way++) {
        enum { COUNT = 8000 };
        int sent = 0, heard = 0;
        while (heard < COUNT) {
            int found = (way ? selects : polls)(in, 1, sent < COUNT, 5000);
            if (found <= 0) break;
            if (found & POLLOUT) sent += tell_to(in, GROUP, PORT, filler, sizeof filler) == sizeof filler;
            // Lazy reading: first all that fits.
            else if (found & POLLIN) {
                char text[1200];
                heard += recv(in, text, sizeof text, 0) == sizeof filler;
            }
        }
        say("%s: sent %d, heard %d", way ? "select" : "poll", sent, heard);
    }
}

// One process that sends all before it reads any: natively most is lost.
static void sends_then_reads(void) {
    start();
    long sent = 0;
    for (int i = 0; i < 500; i++) sent += tell_to(out, GROUP, PORT, filler, sizeof filler) == sizeof filler;
    say("sent: %ld, heard: %ld", sent, drain(500));
}

static void refused(void) {
    int fd = udp();
    MUST(on(fd, SOL_SOCKET, SO_REUSEADDR));
    struct sockaddr_in a = at(binds_any() ? "0.0.0.0" : GROUP, PORT);
    errno = 0;
    int bound = bind(fd, SA(a), sizeof a), why = errno;
    errno = 0;
    int joined = bound == 0 ? join(fd, GROUP) : -1;
    say("refused: %d", bound == 0 ? joined == -1 && errno == EACCES : why == EACCES);
    out = sender();
    STEP("send", tell(out, "x"));
    // Another group is open to everybody.
    int other = receiver_of(GROUP_2, PORT_2);
    MUST(tell_to(out, GROUP_2, PORT_2, "open", 4));
    hear("open group", other);
}

MAIN(CASE(would_block), CASE(limited), CASE(blocked), CASE(edge_when_writable), CASE(not_writable), CASE(both_ways), CASE(sends_then_reads), CASE(refused))
