// Receiving and sending with arguments of every sort, valid and not, on every kind of descriptor.
#include "sweep.h"

// ---- receiving
static void sweep_read(void) {
    begin();
    FOR_BUFFERS(true) {
        struct iovec part = {b->at, b->length};
        ON_EACH_KIND(what_is_left, read(fd, b->at, b->length), "read %s", b->name);
        ON_EACH_KIND(what_is_left, readv(fd, &part, 1), "readv %s", b->name);
    }
    struct iovec two[2] = {{room, 3}, {room + 3, 5}};
    ON_EACH_KIND(what_is_left, readv(fd, two, 2), "readv two parts");
    ON_EACH_KIND(what_is_left, readv(fd, two, 0), "readv no part");
    ON_EACH_KIND(what_is_left, readv(fd, two, -1), "readv -1 parts");
    ON_EACH_KIND(what_is_left, readv(fd, two, 1025), "readv 1025 parts");
    ON_EACH_KIND(what_is_left, readv(fd, NULL, 1), "readv parts at null");
    ON_EACH_KIND(what_is_left, readv(fd, (void *)half_there(-1), 1), "readv unmapped parts");
    ON_EACH_KIND(what_is_left, pread(fd, room, 8, 0), "pread");
    ON_EACH_KIND(what_is_left, preadv(fd, two, 2, 0), "preadv");
    ON_EACH_KIND(what_is_left, preadv2(fd, two, 2, -1, 0), "preadv2 at the position");
    ON_EACH_KIND(what_is_left, preadv2(fd, two, 2, -1, RWF_NOWAIT), "preadv2 nowait");
}
static void sweep_recv(void) {
    begin();
    FOR_BUFFERS(true) {
        ON_EACH_KIND(what_is_left, recv(fd, b->at, b->length, MSG_DONTWAIT), "recv %s", b->name);
        ON_EACH_KIND(what_is_left, recv(fd, b->at, b->length, MSG_PEEK), "recv PEEK %s", b->name);
    }
    for (int f = 0; f < FLAGS; f++)
        ON_EACH_KIND(what_is_left, recv(fd, room, 4, flags[f].value), "recv %s", flags[f].name);
}
static long recvfrom_into(int fd, void *address, socklen_t *length, socklen_t given) {
    if (length) *length = given;
    return recvfrom(fd, room, 64, MSG_DONTWAIT, address, length);
}
static void told_length(int fd, long result) {
    if (result != -1) printf(", length %u", told);
    what_is_left(fd, result);
}
static void sweep_recvfrom(void) {
    begin();
    static unsigned char a[256];
    const socklen_t given[] = {0, 1, 2, 8, 15, 16, 28, 128, 255, (socklen_t)-1, 1u << 31};
    for (int g = 0; g < (int)(sizeof given / sizeof *given); g++)
        ON_EACH_KIND(told_length, recvfrom_into(fd, a, &told, given[g]), "recvfrom address of %d", (int)given[g]);
    told = 0;
    ON_EACH_KIND(what_is_left, recvfrom_into(fd, a, NULL, 16), "recvfrom without length");
    ON_EACH_KIND(told_length, recvfrom_into(fd, NULL, &told, 16), "recvfrom without address");
    char *gone = half_there(-1);
    ON_EACH_KIND(told_length, recvfrom_into(fd, gone, &told, 16), "recvfrom unmapped address");
    ON_EACH_KIND(told_length, recvfrom_into(fd, gone - 4, &told, 16), "recvfrom half unmapped address");
    ON_EACH_KIND(what_is_left, recvfrom(fd, room, 64, MSG_DONTWAIT, SA(a), (void *)gone), "recvfrom unmapped length");
    for (int f = 0; f < FLAGS; f++)
        ON_EACH_KIND(told_length, (told = 16, recvfrom(fd, room, 4, flags[f].value, SA(a), &told)),
                     "recvfrom %s", flags[f].name);
}
static struct msghdr header;
static void told_header(int fd, long result) {
    if (result != -1)
        printf(", name %u, flags %x, control %zu", header.msg_namelen, header.msg_flags, header.msg_controllen);
    what_is_left(fd, result);
}
static struct msghdr *header_of(void *name, socklen_t name_length, struct iovec *parts, size_t count,
                                void *control, size_t control_length) {
    header = (struct msghdr){name, name_length, parts, count, control, control_length, 0x5a};
    return &header;
}
static void sweep_recvmsg(void) {
    begin();
    static unsigned char a[256];
    static char control[256];
    struct iovec part = {room, 64};
    FOR_BUFFERS(true) {
        struct iovec own = {b->at, b->length};
        ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, &own, 1, NULL, 0), MSG_DONTWAIT), "recvmsg %s", b->name);
    }
    for (int f = 0; f < FLAGS; f++)
        ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, &part, 1, control, sizeof control), flags[f].value),
                     "recvmsg %s", flags[f].name);
    const socklen_t given[] = {0, 2, 15, 16, 128, 255, (socklen_t)-1};
    for (int g = 0; g < (int)(sizeof given / sizeof *given); g++)
        ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, given[g], &part, 1, NULL, 0), MSG_DONTWAIT),
                     "recvmsg name of %d", (int)given[g]);
    char *gone = half_there(-1);
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(NULL, 16, &part, 1, NULL, 0), MSG_DONTWAIT), "recvmsg name at null");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(gone, 16, &part, 1, NULL, 0), MSG_DONTWAIT), "recvmsg unmapped name");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, NULL, 1, NULL, 0), MSG_DONTWAIT), "recvmsg parts at null");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, (void *)gone, 1, NULL, 0), MSG_DONTWAIT), "recvmsg unmapped parts");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, &part, 0, NULL, 0), MSG_DONTWAIT), "recvmsg no part");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, &part, 1025, NULL, 0), MSG_DONTWAIT), "recvmsg 1025 parts");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, &part, 1, NULL, 64), MSG_DONTWAIT), "recvmsg control at null");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, &part, 1, gone, 64), MSG_DONTWAIT), "recvmsg unmapped control");
    ON_EACH_KIND(told_header, recvmsg(fd, header_of(a, 16, &part, 1, control, 3), MSG_DONTWAIT), "recvmsg short control");
    ON_EACH_KIND(what_is_left, recvmsg(fd, NULL, MSG_DONTWAIT), "recvmsg header at null");
    ON_EACH_KIND(what_is_left, recvmsg(fd, (void *)gone, MSG_DONTWAIT), "recvmsg unmapped header");
}
static struct mmsghdr several[4];
static struct mmsghdr *headers_of(struct iovec *part) {
    for (int i = 0; i < 4; i++) several[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = part, .msg_iovlen = 1}, .msg_len = 77};
    return several;
}
static void told_several(int fd, long result) {
    printf(", %u %u", several[0].msg_len, several[1].msg_len);
    what_is_left(fd, result);
}
static void sweep_recvmmsg(void) {
    begin();
    struct iovec part = {room, 64};
    for (int f = 0; f < FLAGS; f++)
        ON_EACH_KIND(told_several, recvmmsg(fd, headers_of(&part), 3, flags[f].value | MSG_DONTWAIT, NULL),
                     "recvmmsg %s", flags[f].name);
    const unsigned counts[] = {0, 1, 2, 4};
    for (int c = 0; c < 4; c++)
        ON_EACH_KIND(told_several, recvmmsg(fd, headers_of(&part), counts[c], 0, NULL), "recvmmsg count %u", counts[c]);
    struct timespec wrong = {.tv_nsec = 1000000000}, negative = {.tv_sec = -1}, zero = {0};
    ON_EACH_KIND(told_several, recvmmsg(fd, headers_of(&part), 2, 0, &wrong), "recvmmsg wrong time");
    ON_EACH_KIND(told_several, recvmmsg(fd, headers_of(&part), 2, 0, &negative), "recvmmsg negative time");
    ON_EACH_KIND(told_several, recvmmsg(fd, headers_of(&part), 2, 0, &zero), "recvmmsg no time");
    ON_EACH_KIND(what_is_left, recvmmsg(fd, NULL, 1, MSG_DONTWAIT, NULL), "recvmmsg headers at null");
    ON_EACH_KIND(what_is_left, recvmmsg(fd, (void *)half_there(-1), 1, MSG_DONTWAIT, NULL), "recvmmsg unmapped headers");
    ON_EACH_KIND(told_several, recvmmsg(fd, headers_of(&part), 2, 0, (void *)half_there(-1)), "recvmmsg unmapped time");
}

// ---- sending
static void sweep_write(void) {
    begin();
    FOR_BUFFERS(false) {
        struct iovec part = {b->at, b->length};
        ON_EACH_KIND(what_the_group_heard, write(fd, b->at, b->length), "write %s", b->name);
        ON_EACH_KIND(what_the_group_heard, writev(fd, &part, 1), "writev %s", b->name);
    }
    struct iovec two[2] = {{room, 3}, {room + 3, 5}};
    ON_EACH_KIND(what_the_group_heard, writev(fd, two, 2), "writev two parts");
    ON_EACH_KIND(what_the_group_heard, writev(fd, two, 0), "writev no part");
    ON_EACH_KIND(what_the_group_heard, writev(fd, two, -1), "writev -1 parts");
    ON_EACH_KIND(what_the_group_heard, writev(fd, two, 1025), "writev 1025 parts");
    ON_EACH_KIND(what_the_group_heard, writev(fd, NULL, 1), "writev parts at null");
    ON_EACH_KIND(what_the_group_heard, writev(fd, (void *)half_there(-1), 1), "writev unmapped parts");
    ON_EACH_KIND(what_the_group_heard, pwrite(fd, room, 8, 0), "pwrite");
    ON_EACH_KIND(what_the_group_heard, pwritev(fd, two, 2, 0), "pwritev");
    ON_EACH_KIND(what_the_group_heard, pwritev2(fd, two, 2, -1, 0), "pwritev2 at the position");
}
static void sweep_send(void) {
    begin();
    FOR_BUFFERS(false)
        ON_EACH_KIND(what_the_group_heard, send(fd, b->at, b->length, MSG_DONTWAIT), "send %s", b->name);
    for (int f = 0; f < FLAGS; f++)
        ON_EACH_KIND(what_the_group_heard, send(fd, room, 4, flags[f].value), "send %s", flags[f].name);
    const size_t sizes[] = {1, 1472, 1473, 65507, 65508, 65536};
    for (int s = 0; s < 6; s++)
        ON_EACH_KIND(what_the_group_heard, send(fd, big, sizes[s], MSG_DONTWAIT), "send %zu bytes", sizes[s]);
}
static void sweep_sendto(void) {
    begin();
    struct sockaddr_in group = at(GROUP, PORT), no_port = at(GROUP, 0), wrong = group, unspec = group;
    struct sockaddr_in6 six = at6(GROUP_6, PORT), mapped = at6("::ffff:" GROUP, PORT);
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "nowhere"};
    wrong.sin_family = 77;
    unspec.sin_family = AF_UNSPEC;
    FOR_BUFFERS(false)
        ON_EACH_KIND(what_the_group_heard, sendto(fd, b->at, b->length, MSG_DONTWAIT, SA(group), sizeof group),
                     "sendto %s", b->name);
    for (int f = 0; f < FLAGS; f++)
        ON_EACH_KIND(what_the_group_heard, sendto(fd, room, 4, flags[f].value, SA(group), sizeof group),
                     "sendto %s", flags[f].name);
    static unsigned char long_address[256];
    memcpy(long_address, &group, sizeof group);
    const socklen_t given[] = {0, 1, 2, 8, 15, 16, 17, 28, 128, 129, 255, (socklen_t)-1};
    for (int g = 0; g < (int)(sizeof given / sizeof *given); g++)
        ON_EACH_KIND(what_the_group_heard, sendto(fd, room, 4, MSG_DONTWAIT, (void *)long_address, given[g]),
                     "sendto address of %d", (int)given[g]);
#define TO(name, address)                                                                         \
    ON_EACH_KIND(what_the_group_heard, sendto(fd, room, 4, MSG_DONTWAIT, (void *)&(address), sizeof(address)), name)
    TO("sendto port 0", no_port);
    TO("sendto family 77", wrong);
    TO("sendto family 0", unspec);
    TO("sendto an IPv6 group", six);
    TO("sendto a mapped group", mapped);
    TO("sendto a local name", local);
    ON_EACH_KIND(what_the_group_heard, sendto(fd, room, 4, MSG_DONTWAIT, NULL, 16), "sendto address at null");
    char *gone = half_there(-1);
    ON_EACH_KIND(what_the_group_heard, sendto(fd, room, 4, MSG_DONTWAIT, (void *)gone, 16), "sendto unmapped address");
    memcpy(gone - 8, &group, 8);
    ON_EACH_KIND(what_the_group_heard, sendto(fd, room, 4, MSG_DONTWAIT, (void *)(gone - 8), 16),
                 "sendto half unmapped address");
}
static void sweep_sendmsg(void) {
    begin();
    struct sockaddr_in group = at(GROUP, PORT);
    static char control[256];
    struct iovec part = {room, 8};
    FOR_BUFFERS(false) {
        struct iovec own = {b->at, b->length};
        ON_EACH_KIND(what_the_group_heard, sendmsg(fd, header_of(&group, 16, &own, 1, NULL, 0), MSG_DONTWAIT),
                     "sendmsg %s", b->name);
    }
    for (int f = 0; f < FLAGS; f++)
        ON_EACH_KIND(what_the_group_heard, sendmsg(fd, header_of(&group, 16, &part, 1, NULL, 0), flags[f].value),
                     "sendmsg %s", flags[f].name);
    const socklen_t given[] = {0, 2, 15, 17, 128, 129, (socklen_t)-1};
    static unsigned char long_address[256];
    memcpy(long_address, &group, sizeof group);
    for (int g = 0; g < (int)(sizeof given / sizeof *given); g++)
        ON_EACH_KIND(what_the_group_heard, sendmsg(fd, header_of(long_address, given[g], &part, 1, NULL, 0), MSG_DONTWAIT),
                     "sendmsg name of %d", (int)given[g]);
    char *gone = half_there(-1);
#define MSG(words_, ...)                                                                          \
    ON_EACH_KIND(what_the_group_heard, sendmsg(fd, header_of(__VA_ARGS__), MSG_DONTWAIT), words_)
    MSG("sendmsg without name", NULL, 0, &part, 1, NULL, 0);
    MSG("sendmsg name at null", NULL, 16, &part, 1, NULL, 0);
    MSG("sendmsg unmapped name", gone, 16, &part, 1, NULL, 0);
    MSG("sendmsg parts at null", &group, 16, NULL, 1, NULL, 0);
    MSG("sendmsg unmapped parts", &group, 16, (void *)gone, 1, NULL, 0);
    MSG("sendmsg no part", &group, 16, &part, 0, NULL, 0);
    MSG("sendmsg 1025 parts", &group, 16, &part, 1025, NULL, 0);
    MSG("sendmsg control at null", &group, 16, &part, 1, NULL, 64);
    MSG("sendmsg unmapped control", &group, 16, &part, 1, gone, 64);
    MSG("sendmsg control of zeros", &group, 16, &part, 1, control, 64);
    MSG("sendmsg short control", &group, 16, &part, 1, control, 3);
    struct cmsghdr *c = (struct cmsghdr *)control;
    *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL};
    *(int *)CMSG_DATA(c) = 3;
    MSG("sendmsg with a TTL", &group, 16, &part, 1, control, CMSG_SPACE(4));
    *(int *)CMSG_DATA(c) = 300;
    MSG("sendmsg with a TTL of 300", &group, 16, &part, 1, control, CMSG_SPACE(4));
    c->cmsg_type = 999;
    MSG("sendmsg with an unknown control", &group, 16, &part, 1, control, CMSG_SPACE(4));
    c->cmsg_len = 4000;
    MSG("sendmsg with a control too long", &group, 16, &part, 1, control, CMSG_SPACE(4));
    ON_EACH_KIND(what_the_group_heard, sendmsg(fd, NULL, MSG_DONTWAIT), "sendmsg header at null");
    ON_EACH_KIND(what_the_group_heard, sendmsg(fd, (void *)gone, MSG_DONTWAIT), "sendmsg unmapped header");
    for (unsigned count = 0; count < 5; count++)
        ON_EACH_KIND(what_the_group_heard, sendmmsg(fd, headers_of(&part), count, MSG_DONTWAIT), "sendmmsg count %u", count);
    ON_EACH_KIND(what_the_group_heard, sendmmsg(fd, NULL, 1, MSG_DONTWAIT), "sendmmsg headers at null");
    ON_EACH_KIND(what_the_group_heard, sendmmsg(fd, (void *)gone, 1, MSG_DONTWAIT), "sendmmsg unmapped headers");
}

MAIN(CASE(sweep_read), CASE(sweep_recv), CASE(sweep_recvfrom), CASE(sweep_recvmsg), CASE(sweep_recvmmsg), CASE(sweep_write),
     CASE(sweep_send), CASE(sweep_sendto), CASE(sweep_sendmsg))
