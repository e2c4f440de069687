// fork, vfork, exec, spawn, descriptors passed: one socket, several processes.
#include "steps.h"

static const char *self = "/proc/self/exe";

// Runs after exec, with the socket in descriptor words[2].
static int after_exec(char **words) {
    int in = atoi(words[2]);
    alarm(20);
    say("after exec, type: %d", option(in, SOL_SOCKET, SO_TYPE));
    hear("after exec", in);
    if (words[3]) {
        STEP("send after exec", tell(sender(), words[3]));
        hear("after exec", in);
    }
    return 0;
}

static void shared_after_fork(void) {
    int in = receiver(), out = sender(), report[2];
    enum { COUNT = 2000 };
    MUST(pipe(report));
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = MUST(fork());
        if (children[i]) continue;
        close(report[0]);
        uint32_t number = 0;
        while (recv(in, &number, sizeof number, 0) == sizeof number && number != UINT32_MAX)
            write(report[1], &number, sizeof number);
        _exit(0);
    }
    close(report[1]);
    static uint8_t seen[COUNT];
    uint32_t number = 0, got = 0, twice = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        MUST(tell_to(out, GROUP, PORT, &i, sizeof i));
        if (i - got < 100) continue; // natively the queue holds some 250
        if (read(report[0], &number, sizeof number) != sizeof number) break;
        got++;
        if (seen[number % COUNT]++) twice++;
    }
    while (got < COUNT && read(report[0], &number, sizeof number) == sizeof number) {
        got++;
        if (seen[number % COUNT]++) twice++;
    }
    number = UINT32_MAX;
    for (int i = 0; i < 3; i++) MUST(tell_to(out, GROUP, PORT, &number, sizeof number));
    for (int i = 0; i < 3; i++) await_child("child", children[i]);
    say("got: %u, twice: %u", got, twice);
    hear_nothing("no more", in);
}

static void child_first(void) { // the child reads first, then the parent goes on behind it
    int in = receiver(), out = sender();
    for (int i = 0; i < 6; i++) {
        char text[16];
        MUST(tell_to(out, GROUP, PORT, text, snprintf(text, sizeof text, "number %d", i)));
    }
    hear("parent", in);
    pid_t child = MUST(fork());
    if (child == 0) {
        hear("child", in);
        hear("child", in);
        _exit(0);
    }
    await_child("child", child);
    hear("parent", in);
    child = MUST(fork());
    if (child == 0) {
        hear("second child", in);
        close(in);
        _exit(0);
    }
    await_child("second child", child);
    hear("parent", in);
    MUST(tell(out, "the membership lives on"));
    hear("parent", in);
}

static void parent_leaves(void) { // the child keeps the socket when the parent closes or dies
    int done[2], go[2];
    MUST(pipe(done));
    MUST(pipe(go));
    pid_t parent = MUST(fork());
    if (parent == 0) {
        int in = receiver();
        pid_t child = MUST(fork());
        if (child == 0) {
            char byte;
            read(go[0], &byte, 1); // the parent is gone
            MUST(tell(sender(), "from the orphan"));
            hear("orphan", in);
            write(done[1], "d", 1);
            _exit(0);
        }
        _exit(0);
    }
    await_child("parent", parent);
    char byte;
    close(done[1]);
    write(go[1], "g", 1);
    STEP("orphan done", read(done[0], &byte, 1));
}

static void both_send(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = MUST(fork());
        if (children[i]) continue;
        for (uint32_t n = 0; n < 50; n++) {
            uint32_t words[2] = {i, n};
            MUST(send(out, words, sizeof words, 0));
        }
        _exit(0);
    }
    uint32_t next[4] = {0};
    for (int i = 0; i < 200; i++) {
        uint32_t words[2];
        await_in(in);
        if (recv(in, words, sizeof words, MSG_DONTWAIT) != sizeof words || words[0] > 3 ||
            words[1] != next[words[0]]++) {
            say("wrong at %d", i);
            return;
        }
    }
    for (int i = 0; i < 4; i++) await_child("child", children[i]);
    say("all in order");
}

static void child_joins(void) { // what a child does afterwards is its own
    int in = receiver(), out = sender();
    pid_t child = MUST(fork());
    if (child == 0) {
        int own = receiver_of(GROUP_2, PORT);
        MUST(tell_to(out, GROUP_2, PORT, "for the child", 13));
        hear("child", own);
        int again = receiver();
        MUST(tell(out, "for both"));
        hear("child's own", again);
        _exit(0);
    }
    await_child("child", child);
    hear("parent", in);
    hear_nothing("parent, no more", in);
}

static void executes(void) {
    int in = receiver(), out = sender();
    char number[16];
    snprintf(number, sizeof number, "%d", in);
    MUST(tell(out, "sent before exec"));
    await_in(in);
    pid_t child = MUST(fork());
    if (child == 0) {
        execl(self, self, "after-exec", number, "its own", NULL);
        _exit(8);
    }
    await_child("child", child);
    STEP("close-on-exec", fcntl(in, F_SETFD, FD_CLOEXEC));
    child = MUST(fork());
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "test -e /proc/self/fd/$0", number, NULL);
        _exit(8);
    }
    await_child("closed on exec", child);
    MUST(tell(out, "for the parent"));
    hear("parent", in);
}

static void executes_bare(void) { // an empty environment: no preload in the new image
    int in = receiver(), out = sender();
    char number[16];
    snprintf(number, sizeof number, "%d", in);
    MUST(tell(out, "sent before exec"));
    await_in(in);
    pid_t child = MUST(fork());
    if (child == 0) {
        char *words[] = {(char *)self, "after-exec", number, NULL}, *none[] = {NULL};
        execve(self, words, none);
        _exit(8);
    }
    await_child("child", child);
    MUST(tell(out, "for the parent"));
    hear("parent", in);
}

static const char *many[] = {"one", "two", "three", "four", "five", "six"};

// Runs after an exec whose words came one by one, in registers and on the stack.
static int after_list(char **words) {
    for (int i = 0; i < 6; i++) say("word: %s", words[3 + i]);
    say("last: %d", words[9] == NULL);
    say("environment: %s", setting("GIVEN", "none"));
    alarm(20);
    hear("after exec", atoi(words[2]));
    return 0;
}

static void executes_by_list(void) { // execl, execle and execlp, in an environment with the shim
    int in = receiver(), out = sender();
    char number[16];
    snprintf(number, sizeof number, "%d", in);
    for (int way = 0; way < 3; way++) {
        MUST(tell(out, "sent before exec"));
        await_in(in);
        pid_t child = MUST(fork());
        if (child == 0) {
            setenv("GIVEN", "yes", 1);
            if (way == 0)
                execl(self, self, "after-list", number, many[0], many[1], many[2], many[3], many[4], many[5], NULL);
            else if (way == 1)
                execle(self, self, "after-list", number, many[0], many[1], many[2], many[3], many[4], many[5], NULL,
                       environ);
            else
                execlp(self, self, "after-list", number, many[0], many[1], many[2], many[3], many[4], many[5], NULL);
            _exit(8);
        }
        await_child("child", child);
    }
    STEP("execl", execl("/no/such/program", "x", NULL));
    STEP("execle", execle("/no/such/program", "x", NULL, environ));
    STEP("execlp", execlp("no-such-program", "x", NULL));
    MUST(tell(out, "for the parent"));
    hear("parent", in);
}

static void executes_bare_by_list(void) { // the same, in environments without the shim
    int in = receiver(), out = sender();
    char number[16];
    snprintf(number, sizeof number, "%d", in);
    for (int way = 0; way < 3; way++) {
        MUST(tell(out, "sent before exec"));
        await_in(in);
        pid_t child = MUST(fork());
        if (child == 0) {
            char *given[] = {"GIVEN=yes", NULL};
            setenv("GIVEN", "yes", 1);
            unsetenv("LD_PRELOAD");
            if (way == 0)
                execle(self, self, "after-list", number, many[0], many[1], many[2], many[3], many[4], many[5], NULL,
                       given);
            else if (way == 1)
                execl(self, self, "after-list", number, many[0], many[1], many[2], many[3], many[4], many[5], NULL);
            else
                execlp(self, self, "after-list", number, many[0], many[1], many[2], many[3], many[4], many[5], NULL);
            _exit(8);
        }
        await_child("child", child);
    }
    MUST(tell(out, "for the parent"));
    hear("parent", in);
}

static void executes_by_short_list(void) { // all words in registers
    int in = receiver(), out = sender();
    MUST(tell(out, "read by another program"));
    await_in(in);
    pid_t child = MUST(fork());
    if (child == 0) {
        char *none[] = {NULL};
        dup2(in, 0);
        execle("/usr/bin/head", "head", "-c", "23", NULL, none);
        _exit(8);
    }
    await_child("child", child);
    say("");
}

static void executes_other_program(void) { // a shell reads the socket as its standard input
    int in = receiver(), out = sender();
    MUST(tell(out, "read by another program"));
    await_in(in);
    pid_t child = MUST(fork());
    if (child == 0) {
        dup2(in, 0);
        execl("/usr/bin/head", "head", "-c", "23", NULL);
        _exit(8);
    }
    await_child("child", child);
    say("");
}

static void spawns(void) {
    int in = receiver(), out = sender();
    char number[16];
    snprintf(number, sizeof number, "%d", in);
    pid_t child;
    MUST(tell(out, "for the spawned"));
    await_in(in);
    char *words[] = {(char *)self, "after-exec", number, NULL};
    int result = posix_spawn(&child, self, NULL, NULL, words, environ);
    await_child("spawned", child);
    say("spawn: %d", result);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 77);
    posix_spawn_file_actions_addclose(&actions, in);
    char *other[] = {(char *)self, "after-exec", "77", NULL};
    MUST(tell(out, "for the other"));
    await_in(in);
    result = posix_spawnp(&child, self, &actions, NULL, other, environ);
    await_child("spawned", child);
    say("spawn: %d", result);
    // What others start meanwhile disturbs nothing.
    STEP("system", system("true"));
    FILE *pipe = popen("echo from a pipe", "r");
    char line[64] = "";
    fgets(line, sizeof line, pipe);
    say("popen: %.11s", line);
    STEP("pclose", pclose(pipe));
    MUST(tell(out, "for the parent"));
    hear("parent", in);
}

static void vforks(void) { // the child closes and duplicates in the memory of its parent
    int in = receiver(), out = sender();
    char number[16];
    snprintf(number, sizeof number, "%d", in);
    pid_t child = vfork();
    if (child == 0) {
        close(in);
        close(out);
        dup2(0, in);
        execl("/bin/true", "true", NULL);
        _exit(8);
    }
    await_child("child", child);
    MUST(tell(out, "the parent's own are untouched"));
    hear("parent", in);
    MUST(tell(out, "for the image"));
    await_in(in);
    child = vfork();
    if (child == 0) {
        closefrom(100);
        execl(self, self, "after-exec", number, NULL);
        _exit(8);
    }
    await_child("image", child);
    MUST(tell(out, "still the parent's"));
    hear("parent", in);
}

static void passes(void) { // a descriptor sent to another process
    int pair[2], out = sender();
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    pid_t child = MUST(fork());
    char space[CMSG_SPACE(sizeof(int))] = {0}, byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (child == 0) {
        MUST(recvmsg(pair[1], &message, 0));
        int in;
        memcpy(&in, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof in);
        hear("passed", in);
        MUST(tell(out, "sent by the child"));
        hear("passed", in);
        _exit(0);
    }
    int in = receiver();
    MUST(tell(out, "queued"));
    await_in(in);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    *c = (struct cmsghdr){CMSG_LEN(sizeof in), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &in, sizeof in);
    MUST(sendmsg(pair[0], &message, 0));
    await_child("child", child);
    MUST(tell(out, "for the first"));
    hear("first", in);
}

static void killed(void) { // a member that dies while it receives and sends
    int in = receiver(), out = sender();
    for (int round = 0; round < 20; round++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            int own = receiver(), own_out = sender();
            for (uint32_t n = 0;; n++) {
                tell_to(own_out, GROUP_2, PORT, &n, sizeof n);
                char text[64];
                recv(own, text, sizeof text, MSG_DONTWAIT);
            }
        }
        MUST(tell(out, "goes on"));
        poll(NULL, 0, round);
        kill(child, SIGKILL);
        await_child("child", child);
        hear("parent", in);
    }
}

static void killed_while_reading(void) { // it may die with the reader's lock of a shared socket
    int in = receiver(), out = sender();
    for (int round = 0; round < 20; round++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            char text[64];
            for (;;) recv(in, text, sizeof text, MSG_DONTWAIT | MSG_PEEK);
        }
        MUST(tell(out, "not taken by the child"));
        poll(NULL, 0, 1 + round % 5);
        kill(child, SIGKILL);
        await_child("child", child);
        hear("parent", in);
    }
}

static void daemons(void) { // double fork, new session, descriptors replaced
    int in = receiver(), out = sender(), done[2];
    MUST(pipe(done));
    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        setsid();
        if (fork()) _exit(0);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        hear("daemon", in);
        write(done[1], "d", 1);
        _exit(0);
    }
    await_child("child", child);
    close(done[1]);
    MUST(tell(out, "for the daemon"));
    char byte;
    STEP("daemon done", read(done[0], &byte, 1));
}

int main(int count, char **words) {
    if (count > 2 && strcmp(words[1], "after-exec") == 0) return after_exec(words);
    if (count > 8 && strcmp(words[1], "after-list") == 0) return after_list(words);
    static const struct named_case cases[] = {
        CASE(shared_after_fork), CASE(child_first), CASE(parent_leaves), CASE(both_send),
        CASE(child_joins), CASE(executes), CASE(executes_bare), CASE(executes_by_list),
        CASE(executes_bare_by_list), CASE(executes_by_short_list), CASE(executes_other_program), CASE(spawns),
        CASE(vforks), CASE(passes), CASE(killed), CASE(killed_while_reading), CASE(daemons), {0}};
    return run_case(count, words, cases);
}
