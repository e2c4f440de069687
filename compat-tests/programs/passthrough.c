// One kind of call, many times, on descriptors that no group has: passthrough CALL TIMES
//
// Two runs with different TIMES differ by the calls alone; their instructions are counted.
#include "steps.h"

static int data[2], out, in, file, events;
static char text[64];
static struct sockaddr_in here;

static void c_read(void) { read(file, text, 8); }
static void c_write(void) { write(file, text, 8); }
static void c_recv(void) { recv(in, text, 8, MSG_DONTWAIT); }
static void c_recvfrom(void) { recvfrom(in, text, 8, MSG_DONTWAIT, NULL, NULL); }
static void c_recvmsg(void) {
    struct iovec part = {text, 8};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    recvmsg(in, &message, MSG_DONTWAIT);
}
static void c_send(void) { send(data[0], text, 8, MSG_DONTWAIT); }
static void c_sendto(void) { sendto(out, text, 8, 0, SA(here), sizeof here); }
static void c_sendmsg(void) {
    struct iovec part = {text, 8};
    struct msghdr message = {.msg_name = &here, .msg_namelen = sizeof here, .msg_iov = &part, .msg_iovlen = 1};
    sendmsg(out, &message, 0);
}
static void c_poll(void) {
    struct pollfd p = {.fd = in, .events = POLLIN};
    poll(&p, 1, 0);
}
static void c_select(void) {
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(in, &readable);
    struct timeval none = {0, 0};
    select(in + 1, &readable, NULL, NULL, &none);
}
static void c_epoll_wait(void) {
    struct epoll_event event;
    epoll_wait(events, &event, 1, 0);
}
static void c_fcntl(void) { fcntl(in, F_GETFL); }
static void c_ioctl(void) {
    int count;
    ioctl(in, FIONREAD, &count);
}
static void c_dup_close(void) { close(dup(file)); }
static void c_getsockopt(void) { option(in, SOL_SOCKET, SO_TYPE); }

static const struct named_case calls[] = {
    {"read", c_read},     {"write", c_write},     {"recv", c_recv},     {"recvfrom", c_recvfrom},
    {"recvmsg", c_recvmsg}, {"send", c_send},     {"sendto", c_sendto}, {"sendmsg", c_sendmsg},
    {"poll", c_poll},     {"select", c_select},   {"epoll_wait", c_epoll_wait},
    {"fcntl", c_fcntl},   {"ioctl", c_ioctl},     {"dup+close", c_dup_close},
    {"getsockopt", c_getsockopt}, {0}};

int main(int count, char **words) {
    if (count < 3) return 2;
    alarm(120);
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, data));
    in = udp();
    out = udp();
    here = at("127.0.0.1", 6300);
    struct sockaddr_in own = at("127.0.0.1", 6301);
    MUST(bind(in, SA(own), sizeof own));
    file = MUST(open("/dev/zero", O_RDWR));
    events = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    MUST(epoll_ctl(events, EPOLL_CTL_ADD, in, &event));
    for (const struct named_case *c = calls; c->name; c++)
        if (strcmp(c->name, words[1]) == 0) {
            for (long i = atol(words[2]); i; i--) c->run();
            return 0;
        }
    return 2;
}
