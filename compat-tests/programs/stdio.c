// Streams over sockets, and every way to close a descriptor behind a library's back.
#include "steps.h"

static void reads_lines(void) {
    int in = receiver(), out = sender();
    MUST(tell(out, "queued before fdopen\n"));
    await_in(in);
    FILE *file = fdopen(in, "r");
    say("opened: %d", file != NULL);
    char line[64];
    say("line: %s", fgets(line, sizeof line, file));
    MUST(tell(out, "one\n"));
    MUST(tell(out, "two\n"));
    say("line: %s", fgets(line, sizeof line, file));
    say("line: %s", fgets(line, sizeof line, file));
    for (int i = 0; i < 200; i++) {
        char text[32];
        MUST(tell_to(out, GROUP, PORT, text, snprintf(text, sizeof text, "number %d\n", i)));
    }
    int right = 0;
    for (int i = 0; i < 200; i++) {
        char text[32];
        snprintf(text, sizeof text, "number %d\n", i);
        if (!fgets(line, sizeof line, file)) break;
        right += strcmp(text, line) == 0;
    }
    say("right: %d", right);
    MUST(tell(out, "ready\n"));
    STEP("ready", in_within(in, 8000));
    STEP("plain receive", recv(in, line, sizeof line, 0));
    STEP("fclose", fclose(file));
    STEP("closed", recv(in, line, sizeof line, 0));
}

static void writes_lines(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    MUST(connect(out, SA(a), sizeof a));
    MUST(send(out, "before\n", 7, 0));
    FILE *file = fdopen(out, "w");
    fprintf(file, "one %d\n", 1);
    STEP("flush", fflush(file));
    fputs("three\n", file);
    STEP("fclose", fclose(file));
    for (int i = 0; i < 3; i++) hear("received", in);
}

static void both_ways(void) {
    int in = receiver(), out = sender(), copy = MUST(dup(in));
    FILE *file = fdopen(copy, "r");
    setvbuf(file, NULL, _IONBF, 0);
    MUST(tell(out, "x"));
    say("getc: %c", getc(file));
    MUST(tell(out, "by the first"));
    hear("received", in);
    STEP("fclose", fclose(file));
    MUST(tell(out, "after fclose"));
    hear("received", in);
}

// A number that was a group socket is something else now, and the other way about.
static void is_a_pipe(const char *name, int number) {
    int ends[2];
    char text[16] = {0};
    MUST(pipe(ends));
    if (ends[0] != number) say("%s: got %d instead of %d", name, ends[0], number);
    MUST(write(ends[1], "pipe", 4));
    STEP(name, read(ends[0], text, sizeof text));
    STEP("not a socket", recv(ends[0], text, sizeof text, MSG_DONTWAIT));
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    STEP("empty", poll(&p, 1, 0));
    close(ends[0]);
    close(ends[1]);
}
static void is_a_plain_socket(const char *name, int number) {
    int fd = udp(), out = udp();
    if (fd != number) say("%s: got %d instead of %d", name, fd, number);
    struct sockaddr_in a = at("127.0.0.1", 6200), none = {0};
    socklen_t length = sizeof none;
    STEP(name, bind(fd, SA(a), sizeof a));
    MUST(sendto(out, "plain", 5, 0, SA(a), sizeof a));
    hear(name, fd);
    STEP("peer", getpeername(fd, SA(none), &length));
    SAY_SOCK("name", fd);
    close(fd);
    close(out);
}
static void is_a_member(const char *name, int number) {
    int in = receiver(), out = sender();
    if (in != number) say("%s: got %d instead of %d", name, in, number);
    MUST(tell(out, "member"));
    hear(name, in);
    close(in);
    close(out);
}

static int used_member(void) { // a socket that has been through everything
    int in = receiver(), out = sender();
    MUST(tell(out, "used"));
    MUST(tell(out, "left in the queue"));
    hear("member", in);
    close(out);
    return in;
}

static void reuse_after_close(void) {
    int in = used_member();
    close(in);
    is_a_pipe("after close", in);
    is_a_plain_socket("after close", in);
    is_a_member("after close", in);
}
static void reuse_after_fclose(void) {
    int in = used_member();
    fclose(fdopen(in, "r"));
    is_a_pipe("after fclose", in);
    in = used_member();
    fclose(fdopen(in, "r"));
    is_a_plain_socket("after fclose", in);
    is_a_member("after fclose", in);
}
static void reuse_after_closefrom(void) {
    int in = used_member();
    closefrom(in);
    is_a_plain_socket("after closefrom", in);
    is_a_member("after closefrom", in);
    in = used_member();
    closefrom(3); // also whatever a library keeps open
    is_a_member("after closefrom of all", in);
    is_a_pipe("after closefrom of all", in);
}
static void reuse_after_close_range(void) {
    int in = used_member();
    STEP("close_range", close_range(in, in + 20, 0));
    is_a_pipe("after close_range", in);
    in = used_member();
    STEP("close on exec only", close_range(in, in, CLOSE_RANGE_CLOEXEC));
    int out = sender();
    MUST(tell(out, "still open"));
    char text[32];
    await_in(in);
    recv(in, text, sizeof text, 0);
    hear("received", in);
    STEP("all of them", close_range(3, ~0u, 0));
    is_a_member("after close_range of all", in);
}
static void reuse_by_dup2(void) {
    int in = used_member(), ends[2], out = sender(), other = receiver_of(GROUP_2, PORT);
    char text[16] = {0};
    MUST(pipe(ends));
    STEP("pipe over member", dup2(ends[0], in));
    MUST(write(ends[1], "pipe", 4));
    STEP("read", read(in, text, sizeof text));
    STEP("member over pipe", dup2(other, ends[0]));
    MUST(tell_to(out, GROUP_2, PORT, "member", 6));
    hear("received", ends[0]);
    STEP("member over standard input", dup2(other, 0));
    MUST(tell_to(out, GROUP_2, PORT, "input", 5));
    await_in(0);
    STEP("read", read(0, text, sizeof text));
    say("text: %.5s", text);
    int first = receiver();
    STEP("member over member", dup2(first, other));
    MUST(tell(out, "first"));
    hear("received", other);
    STEP("dup3", dup3(ends[1], first, O_CLOEXEC));
    STEP("write", write(first, "pipe", 4));
}
static void reuse_by_freopen(void) {
    int in = used_member();
    FILE *file = fdopen(in, "r");
    file = freopen("/dev/zero", "r", file);
    say("same number: %d", fileno(file) == in);
    say("byte: %d", getc(file));
    char text[4];
    STEP("read", read(in, text, sizeof text));
    fclose(file);
    is_a_member("after freopen", in);
}
static void reuse_by_raw_call(void) { // closed by a system call that no library sees
    int in = used_member();
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_close), "D"((long)in) : "rcx", "r11", "memory");
    is_a_plain_socket("after a raw close", in);
    in = used_member();
    STEP("syscall", syscall(SYS_close, in));
    is_a_pipe("after syscall", in);
}
static void raw_calls(void) { // data by syscall(): decoded or delivered by the kernel, not lost
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    char text[32] = {0};
    STEP("sendto", syscall(SYS_sendto, out, "raw", 3, 0, &a, sizeof a));
    await_in(in);
    STEP("recvfrom", syscall(SYS_recvfrom, in, text, sizeof text, MSG_DONTWAIT, NULL, NULL));
    say("text: %s", text);
    MUST(tell(out, "plain"));
    await_in(in);
    memset(text, 0, sizeof text);
    STEP("read", syscall(SYS_read, in, text, sizeof text));
    say("text: %s", text);
}
static void other_descriptors(void) { // nothing of a library's own is seen or harmed
    int in = used_member();
    int file = MUST(open("/dev/null", O_RDWR));
    say("next number: %d", file - in);
    close(file);
    for (int fd = 3; fd < 300; fd++) {
        if (fd != in) close(fd);
    }
    int out = sender();
    MUST(tell(out, "x"));
    char text[32];
    await_in(in);
    recv(in, text, sizeof text, 0);
    hear("received", in);
}
static void odd_io(void) { // io on other things through the same hooks
    int in = receiver(), out = sender(), file = MUST(memfd_create("f", 0)), pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    STEP("write", write(file, "0123456789", 10));
    STEP("pread", pread(file, big, 4, 3));
    say("text: %.4s", big);
    STEP("sendfile", sendfile(pair[0], file, &(off_t){0}, 10));
    STEP("recv", recv(pair[1], big, 100, 0));
    STEP("send", send(pair[0], "x", 1, 0));
    STEP("peek", recv(pair[1], big, 1, MSG_PEEK));
    STEP("shutdown", shutdown(pair[0], SHUT_WR));
    STEP("rest", read(pair[1], big, 10));
    STEP("end", read(pair[1], big, 10));
    STEP("seek", lseek(file, 0, SEEK_SET));
    STEP("read", read(file, big, 100));
    MUST(tell(out, "member"));
    hear("received", in);
}

// Every datagram that is there, by length and content: how text was cut shows.
// Datagrams until so many bytes came.
static void hear_all(int in, long bytes) {
    static char text[BIG];
    while (bytes > 0) {
        await_in(in);
        long length = recv(in, text, sizeof text, MSG_DONTWAIT);
        say("datagram: %ld %08x", length, sum_of(text, length > 0 ? length : 0));
        if (length <= 0) return;
        bytes -= length;
    }
}
static int by_list(int fd, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int result = vdprintf(fd, format, list);
    va_end(list);
    return result;
}
extern int __dprintf_chk(int, int, const char *, ...);
extern int __vdprintf_chk(int, int, const char *, va_list);
static int by_checked_list(int fd, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int result = __vdprintf_chk(fd, 1, format, list);
    va_end(list);
    return result;
}
static void formats(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in a = at(GROUP, PORT);
    STEP("not connected", dprintf(out, "%d", 1));
    MUST(connect(out, SA(a), sizeof a));
    STEP("plain", dprintf(out, "plain"));
    hear("received", in);
    // More than there are registers, of both kinds, and what needs an aligned stack.
    STEP("many", dprintf(out, "%d %s %c %ld %g %x %d %d %d %g %g %g %g %g %g %g %g %g %Lg %d", 1, "two", '3', 4L, 5.5,
                         6, 7, 8, 9, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.25L, 11));
    hear("received", in);
    STEP("by position", dprintf(out, "%2$s %1$d %3$g", 1, "two", 3.5));
    hear("received", in);
    STEP("a list", by_list(out, "%s %d %g", "list", 2, 3.5));
    hear("received", in);
    STEP("checked", __dprintf_chk(out, 1, "%s %d %g %d %d %d", "checked", 2, 3.5, 4, 5, 6));
    hear("received", in);
    STEP("a checked list", by_checked_list(out, "%s %d %g", "checked list", 2, 3.5));
    hear("received", in);
    STEP("nothing", dprintf(out, "%s", ""));
    STEP("not a format", dprintf(out, "%"));
    STEP("not a character", dprintf(out, "cut %lc", 0x12345678));
    MUST(dprintf(out, "next"));
    hear("received", in);
    hear("received", in);
    memset(big, 'z', sizeof big);
    static const int sizes[] = {1, 511, 1024, 2048, 2049, 4095, 4096, 4097, 5000, 8192, 20000, 65507};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        STEP("long", dprintf(out, "%.*s", sizes[i], big));
        hear_all(in, sizes[i]);
    }
    STEP("in parts", dprintf(out, "%.*s%d%.*s%3000d", 3000, big, 7, 9000, big, 8));
    hear_all(in, 3000 + 1 + 9000 + 3000);
    STEP("too long", dprintf(out, "%.*s", 65990, big));
    STEP("bad descriptor", dprintf(999, "x"));
    STEP("a member without a peer", dprintf(in, "x"));
    FILE *file = tmpfile();
    STEP("a file", dprintf(fileno(file), "%s %g", "file", 1.5));
    STEP("its bytes", lseek(fileno(file), 0, SEEK_END));
    MUST(dprintf(out, "still works"));
    hear("received", in);
}

MAIN(CASE(formats), CASE(reads_lines), CASE(writes_lines), CASE(both_ways), CASE(reuse_after_close),
     CASE(reuse_after_fclose), CASE(reuse_after_closefrom), CASE(reuse_after_close_range),
     CASE(reuse_by_dup2), CASE(reuse_by_freopen), CASE(reuse_by_raw_call), CASE(raw_calls),
     CASE(other_descriptors), CASE(odd_io))
