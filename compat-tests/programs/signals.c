// Signals: what interrupts, what restarts, what may be called in a handler.
#include "steps.h"

static int shared, answer;
static _Atomic int handled;
static void count_signal(int number) { handled++; }
static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    MUST(sigaction(number, &action, NULL));
}

static pid_t main_thread;
static void *interrupt(void *then) { // a signal to the sleeping main thread, then a datagram
    await_asleep(getpid(), main_thread);
    int before = handled;
    tgkill(getpid(), main_thread, SIGUSR1);
    while (handled == before) sched_yield();
    if (then) {
        await_asleep(getpid(), main_thread);
        tell(sender(), then);
    }
    return NULL;
}
static void interrupted(const char *name, int flags, int how) {
    handle(SIGUSR1, count_signal, flags);
    main_thread = gettid();
    pthread_t thread;
    // Without a restart nothing is to come.
    pthread_create(&thread, NULL, interrupt, flags ? "after the signal" : NULL);
    char text[64];
    struct iovec part = {text, sizeof text};
    struct mmsghdr one = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    struct pollfd p = {.fd = shared, .events = POLLIN};
    switch (how) {
    case 0: STEP(name, recv(shared, text, sizeof text, 0)); break;
    case 1: STEP(name, read(shared, text, sizeof text)); break;
    case 2: STEP(name, recvmsg(shared, &one.msg_hdr, 0)); break;
    case 3: STEP(name, recvmmsg(shared, &one, 1, 0, NULL)); break;
    case 4: STEP(name, poll(&p, 1, 8000)); break;
    case 5: STEP(name, ppoll(&p, 1, NULL, NULL)); break;
    case 6: STEP(name, recvfrom(shared, text, sizeof text, MSG_PEEK, NULL, NULL)); break;
    }
    pthread_join(thread, NULL);
    if (flags) {
        // Calls that are never restarted have left it in the queue.
        if (in_within(shared, how < 4 ? 0 : 8000)) hear("left", shared);
    }
}
static void interruptions(void) {
    static const char *names[] = {"recv", "read", "recvmsg", "recvmmsg", "poll", "ppoll", "peek"};
    shared = receiver();
    for (int how = 0; how < 7; how++) {
        interrupted(names[how], 0, how);
        interrupted(names[how], SA_RESTART, how);
    }
    say("handled: %d", handled);
}

static void limit_is_not_restarted(void) {
    shared = receiver();
    struct timeval limit = {8, 0};
    MUST(setsockopt(shared, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    handle(SIGUSR1, count_signal, SA_RESTART);
    main_thread = gettid();
    pthread_t thread;
    pthread_create(&thread, NULL, interrupt, NULL);
    char text[16];
    STEP("recv with a limit", recv(shared, text, sizeof text, 0));
    pthread_join(thread, NULL);
}

static void mask(void) { // ppoll, pselect and epoll_pwait let a blocked signal in
    shared = receiver();
    handle(SIGUSR1, count_signal, 0);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    struct pollfd p = {.fd = shared, .events = POLLIN};
    struct timespec limit = {8, 0};
    raise(SIGUSR1);
    STEP("ppoll", ppoll(&p, 1, &limit, &none));
    say("handled: %d", handled);
    raise(SIGUSR1);
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(shared, &readable);
    STEP("pselect", pselect(shared + 1, &readable, NULL, NULL, &limit, &none));
    say("handled: %d", handled);
    raise(SIGUSR1);
    int set = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, shared, &event));
    STEP("epoll_pwait", epoll_pwait(set, &event, 1, 8000, &none));
    say("handled: %d", handled);
    raise(SIGUSR1);
    STEP("epoll_pwait2", epoll_pwait2(set, &event, 1, &limit, &none));
    say("handled: %d", handled);
    // A pending signal wins against nothing, not against a datagram.
    MUST(tell(sender(), "ready"));
    await_in(shared);
    hear("received", shared);
}

static void storm(void) { // a signal every 200 us, in every instruction of the path
    shared = receiver();
    int out = sender();
    handle(SIGALRM, count_signal, 0);
    struct itimerval timer = {{0, 200}, {0, 200}};
    setitimer(ITIMER_REAL, &timer, NULL);
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t number = UINT32_MAX;
        while (tell_to(out, GROUP, PORT, &i, sizeof i) == -1 && errno == EINTR) {}
        while (recv(shared, &number, sizeof number, 0) == -1 && errno == EINTR) {}
        if (number != i) {
            say("wrong at %u: %u", i, number);
            break;
        }
    }
    timer = (struct itimerval){0};
    setitimer(ITIMER_REAL, &timer, NULL);
    say("storm over, signals came: %d", handled > 0);
}

static void send_in_handler(int number) {
    int saved = errno;
    char text[8];
    if (tell(answer, "h") == 1) handled++;
    recv(shared, text, sizeof text, MSG_DONTWAIT);
    errno = saved;
}
static void calls_in_handler(void) { // sendto and recv are async-signal-safe
    shared = receiver();
    answer = sender();
    int out = sender(), own = receiver();
    handle(SIGALRM, send_in_handler, SA_RESTART);
    struct itimerval timer = {{0, 300}, {0, 300}};
    setitimer(ITIMER_REAL, &timer, NULL);
    int mine = 0;
    for (int i = 0; i < 5000; i++) {
        char text[8] = {0};
        MUST(tell(out, "m"));
        do {
            if (in_within(own, 8000) == 0) break;
            if (recv(own, text, sizeof text, MSG_DONTWAIT) == -1) text[0] = 0;
        } while (text[0] != 'm');
        mine += text[0] == 'm';
        recv(shared, text, sizeof text, MSG_DONTWAIT);
    }
    timer = (struct itimerval){0};
    setitimer(ITIMER_REAL, &timer, NULL);
    say("mine: %d, handler's: %d", mine, handled > 0);
}

static void asynchronous(void) { // SIGIO at each arrival
    shared = receiver();
    int out = sender();
    handle(SIGIO, count_signal, SA_RESTART);
    STEP("owner", fcntl(shared, F_SETOWN, getpid()));
    STEP("async", fcntl(shared, F_SETFL, O_ASYNC | O_NONBLOCK));
    for (int i = 0; i < 5; i++) {
        int before = handled;
        MUST(tell(out, "signal"));
        for (int looks = 0; handled == before && looks < 8000; looks++) poll(NULL, 0, 1);
        say("signalled: %d", handled > before);
        hear("received", shared);
    }
    STEP("off", fcntl(shared, F_SETFL, 0));
    handle(SIGRTMIN + 1, count_signal, SA_RESTART);
    STEP("own signal", fcntl(shared, F_SETSIG, SIGRTMIN + 1));
    STEP("by ioctl", ioctl(shared, FIOASYNC, &(int){1}));
    int before = handled;
    MUST(tell(out, "signal"));
    for (int looks = 0; handled == before && looks < 8000; looks++) poll(NULL, 0, 1);
    say("signalled: %d", handled > before);
    hear("received", shared);
}

static void jump(int number) { _exit(handled ? 0 : 4); }
static void leaves_from_handler(void) { // a child that ends inside a handler, during a call
    shared = receiver();
    int out = sender();
    for (int i = 0; i < 10; i++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            handled = 1;
            handle(SIGALRM, jump, 0);
            struct itimerval timer = {{0, 0}, {0, 1000 + 300 * i}};
            setitimer(ITIMER_REAL, &timer, NULL);
            int own = sender();
            char text[64];
            for (;;) {
                tell_to(own, GROUP_2, PORT, "x", 1);
                recv(shared, text, sizeof text, MSG_PEEK | MSG_DONTWAIT);
            }
        }
        await_child("child", child);
        MUST(tell(out, "still works"));
        hear("received", shared);
    }
}

MAIN(CASE(interruptions), CASE(limit_is_not_restarted), CASE(mask), CASE(storm), CASE(calls_in_handler),
     CASE(asynchronous), CASE(leaves_from_handler))
