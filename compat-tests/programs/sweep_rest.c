// Names, options, descriptors and readiness, with arguments of every sort, on every kind of descriptor.
#include "sweep.h"

// ---- names
// A port that the kernel chose is just one.
static void say_name_of(int fd, int (*call)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_in6 a = {0};
    socklen_t length = sizeof a;
    errno = 0;
    if (call(fd, SA(a), &length) == -1) {
        printf(" %s", strerrorname_np(errno));
        return;
    }
    char text[64] = "-";
    struct sockaddr_in *four = (struct sockaddr_in *)&a;
    if (a.sin6_family == AF_INET) inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
    if (a.sin6_family == AF_INET6) inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof text);
    int port = a.sin6_family == AF_UNIX ? 0 : ntohs(a.sin6_port);
    printf(" %d %s %d %u", a.sin6_family, text, port >= 32768 ? 1 : port, length);
}
static void what_it_is_called(int fd, long result) {
    (void)result;
    printf(", own");
    say_name_of(fd, (int (*)(int, struct sockaddr *, socklen_t *))getsockname);
    printf(", peer");
    say_name_of(fd, (int (*)(int, struct sockaddr *, socklen_t *))getpeername);
}
static void sweep_naming(int (*call)(int, const struct sockaddr *, socklen_t), const char *name) {
    static unsigned char long_address[256];
    struct sockaddr_in group = at(GROUP, PORT), second = at(GROUP_2, PORT_2), plain = at("127.0.0.1", 5998);
    struct sockaddr_in any = at("0.0.0.0", 0), foreign = at("192.0.2.1", 5000), wrong = group, unspec = {0};
    struct sockaddr_in any_port = at("0.0.0.0", PORT), group_no_port = at(GROUP, 0), broadcast = at("255.255.255.255", PORT);
    struct sockaddr_in6 six = at6(GROUP_6, PORT), mapped = at6("::ffff:" GROUP, PORT), any6 = at6("::", 0);
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/nowhere/at/all"};
    wrong.sin_family = 77;
    struct {
        const char *name;
        void *at;
        socklen_t length;
    } names[] = {
        {"a group", &group, 16},
        {"another group", &second, 16},
        {"a local address", &plain, 16},
        {"any", &any, 16},
        {"any at the group's port", &any_port, 16},
        {"a group without port", &group_no_port, 16},
        {"a foreign address", &foreign, 16},
        {"broadcast", &broadcast, 16},
        {"family 77", &wrong, 16},
        {"no family", &unspec, 16},
        {"an IPv6 group", &six, sizeof six},
        {"a mapped group", &mapped, sizeof mapped},
        {"any of IPv6", &any6, sizeof any6},
        {"a local name", &local, sizeof local},
        {"null", NULL, 16},
        {"1", (void *)1, 16},
        {"unmapped", half_there(-1), 16},
    };
    for (int n = 0; n < (int)(sizeof names / sizeof *names); n++)
        ON_EACH_KIND(what_it_is_called, call(fd, names[n].at, names[n].length), "%s %s", name, names[n].name);
    memcpy(long_address, &group, sizeof group);
    const socklen_t given[] = {0, 1, 2, 4, 8, 15, 17, 28, 128, 129, 255, (socklen_t)-1};
    for (int g = 0; g < (int)(sizeof given / sizeof *given); g++)
        ON_EACH_KIND(what_it_is_called, call(fd, (void *)long_address, given[g]), "%s address of %d", name, (int)given[g]);
}
static void sweep_bind(void) {
    begin();
    sweep_naming((int (*)(int, const struct sockaddr *, socklen_t))bind, "bind");
}
static void sweep_connect(void) {
    begin();
    sweep_naming((int (*)(int, const struct sockaddr *, socklen_t))connect, "connect");
}
static long name_into(int fd, bool is_peer, void *address, socklen_t *length, socklen_t given) {
    if (length) *length = given;
    return is_peer ? getpeername(fd, address, length) : getsockname(fd, address, length);
}
static void told_name(int fd, long result) {
    (void)fd;
    if (result != -1) printf(", length %u", told);
}
static void sweep_names(void) {
    begin();
    static unsigned char a[256];
    char *gone = half_there(-1);
    for (int is_peer = 0; is_peer < 2; is_peer++) {
        const char *name = is_peer ? "getpeername" : "getsockname";
        const socklen_t given[] = {0, 1, 2, 8, 15, 16, 28, 128, 255, (socklen_t)-1, 1u << 31};
        for (int g = 0; g < (int)(sizeof given / sizeof *given); g++)
            ON_EACH_KIND(told_name, name_into(fd, is_peer, a, &told, given[g]), "%s of %d", name, (int)given[g]);
        ON_EACH_KIND(told_name, name_into(fd, is_peer, NULL, &told, 16), "%s at null", name);
        ON_EACH_KIND(told_name, name_into(fd, is_peer, gone, &told, 16), "%s unmapped", name);
        ON_EACH_KIND(nothing_more, name_into(fd, is_peer, a, NULL, 16), "%s without length", name);
        ON_EACH_KIND(nothing_more, is_peer ? getpeername(fd, SA(a), (void *)gone) : getsockname(fd, SA(a), (void *)gone),
                     "%s unmapped length", name);
    }
    for (int how = -1; how < 4; how++)
        ON_EACH_KIND(what_it_is_called, shutdown(fd, how), "shutdown %d", how);
    ON_EACH_KIND(what_it_is_called, listen(fd, 1), "listen");
    ON_EACH_KIND(what_it_is_called, listen(fd, -1), "listen -1");
    socklen_t length;
    ON_EACH_KIND(nothing_more, accept(fd, NULL, NULL), "accept");
    ON_EACH_KIND(nothing_more, (length = 16, accept(fd, (void *)gone, &length)), "accept unmapped address");
    ON_EACH_KIND(nothing_more, accept4(fd, NULL, NULL, SOCK_NONBLOCK), "accept4");
    ON_EACH_KIND(nothing_more, accept4(fd, NULL, NULL, 0x7), "accept4 unknown flags");
    ON_EACH_KIND(nothing_more, sockatmark(fd), "sockatmark");
    ON_EACH_KIND(nothing_more, isfdtype(fd, S_IFSOCK), "isfdtype");
    for (int type = 0; type < 8; type++) {
        const int families[] = {AF_INET, AF_INET6, AF_UNIX, 99, -1};
        for (int f = 0; f < 5; f++)
            for (int protocol = 0; protocol < 19; protocol += protocol ? 11 : 6) {
                if (type == SOCK_RAW || type == SOCK_PACKET) continue;
                errno = 0;
                int fd = socket(families[f], type, protocol), error = errno;
                set_words("socket %d %d %d", families[f], type, protocol);
                kind_name = "new";
                answer(fd == -1 ? -1 : 0, error);
                printf("\n");
                if (fd != -1) close(fd);
            }
    }
    ON_EACH_KIND(nothing_more, (errno = 0, socketpair(AF_INET, SOCK_DGRAM, 0, (int[2]){fd, fd})), "socketpair of IPv4");
    ON_EACH_KIND(nothing_more, socketpair(AF_UNIX, SOCK_DGRAM, 0, NULL), "socketpair at null");
}

// ---- options
static bool is_chosen_by_the_kernel(int level, int name) {
    if (level == IPPROTO_IP && name == 52) return true; // the port
    if (level != SOL_SOCKET) return false;
    switch (name) {
    case SO_PEERCRED: case SO_INCOMING_CPU: case SO_INCOMING_NAPI_ID: case SO_COOKIE: case SO_MEMINFO:
    case 77 /* SO_PEERPIDFD */: case SO_PEERGROUPS:
        return true;
    }
    return false;
}
static const struct {
    const char *name;
    int level;
    int count;
} levels[] = {{"SOL_SOCKET", SOL_SOCKET, 84}, {"IP", IPPROTO_IP, 54}, {"IPV6", IPPROTO_IPV6, 84}, {"UDP", IPPROTO_UDP, 106}, {"level 999", 999, 3}, {"level -1", -1, 2}};
static unsigned char option_bytes[256];
static socklen_t option_length;
static long get(int fd, int level, int name, socklen_t given) {
    memset(option_bytes, 0, sizeof option_bytes);
    option_length = given;
    return getsockopt(fd, level, name, option_bytes, &option_length);
}
static void sweep_getsockopt(void) {
    begin();
    for (int l = 0; l < 6; l++)
        for (int k = 0; k < KINDS; k++) {
            kind_name = kinds[k].name;
            other = -1;
            int fd = kinds[k].open();
            for (int name = 0; name < levels[l].count; name++) {
                set_words("getsockopt %s %d", levels[l].name, name);
                errno = 0;
                long result = get(fd, levels[l].level, name, 64);
                answer(result, errno);
                if (result != -1 && !is_chosen_by_the_kernel(levels[l].level, name))
                    printf(", %u bytes %08x", option_length, sum_of(option_bytes, option_length));
                printf("\n");
            }
            if (fd > 2 && fd < 900) close(fd);
            if (other >= 0) close(other);
        }
    const int names[][2] = {{SOL_SOCKET, SO_TYPE}, {SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_RCVTIMEO}, {SOL_SOCKET, SO_PEEK_OFF}, {IPPROTO_IP, IP_MULTICAST_TTL}, {IPPROTO_IP, IP_MULTICAST_IF}};
    char *gone = half_there(-1);
    for (int n = 0; n < 6; n++) {
        const int given[] = {0, 1, 2, 3, 4, 5, -1};
        for (int g = 0; g < 7; g++)
            ON_EACH_KIND(nothing_more, get(fd, names[n][0], names[n][1], given[g]), "getsockopt %d %d of %d", names[n][0], names[n][1], given[g]);
        ON_EACH_KIND(nothing_more, (option_length = 4, getsockopt(fd, names[n][0], names[n][1], NULL, &option_length)), "getsockopt %d %d at null", names[n][0], names[n][1]);
        ON_EACH_KIND(nothing_more, (option_length = 4, getsockopt(fd, names[n][0], names[n][1], gone, &option_length)), "getsockopt %d %d unmapped", names[n][0], names[n][1]);
        ON_EACH_KIND(nothing_more, getsockopt(fd, names[n][0], names[n][1], option_bytes, NULL), "getsockopt %d %d without length", names[n][0], names[n][1]);
    }
}
static void sweep_setsockopt(void) {
    begin();
    char *gone = half_there(-1);
    static unsigned char value[256];
    for (int l = 0; l < 6; l++)
        for (int name = 0; name < levels[l].count; name++) {
            bool is_slow = levels[l].level == SOL_SOCKET && (name == SO_LINGER || name == SO_DEBUG);
            bool is_none = levels[l].level == IPPROTO_UDP && name > 3 && name < 100;
            if (is_slow || is_none) continue;
            const int given[] = {0, 1, 4, 8, 12, 20, -1};
            for (int g = 0; g < 7; g++) {
                memset(value, 0, sizeof value);
                value[0] = 1;
                for (int k = 0; k < KINDS; k++) {
                    if (g != 2 && k != 15 && k != 20 && k != 25 && k != 27) continue;
                    kind_name = kinds[k].name;
                    other = -1;
                    int fd = kinds[k].open();
                    set_words("setsockopt %s %d of %d", levels[l].name, name, given[g]);
                    errno = 0;
                    long result = setsockopt(fd, levels[l].level, name, value, given[g]);
                    answer(result, errno);
                    if (result != -1 && !is_chosen_by_the_kernel(levels[l].level, name)) {
                        get(fd, levels[l].level, name, 64);
                        printf(", %u bytes %08x", option_length, sum_of(option_bytes, option_length));
                    }
                    printf("\n");
                    if (fd > 2 && fd < 900) close(fd);
                    if (other >= 0) close(other);
                }
            }
        }
    const int names[][2] = {{SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_RCVTIMEO}, {IPPROTO_IP, IP_ADD_MEMBERSHIP}, {IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP}, {IPPROTO_IP, MCAST_JOIN_GROUP}, {IPPROTO_IP, IP_MSFILTER}, {IPPROTO_IP, MCAST_MSFILTER}, {IPPROTO_IPV6, IPV6_JOIN_GROUP}, {IPPROTO_IP, IP_MULTICAST_TTL}};
    for (int n = 0; n < 9; n++) {
        ON_EACH_KIND(nothing_more, setsockopt(fd, names[n][0], names[n][1], NULL, 4), "setsockopt %d %d 4 at null", names[n][0], names[n][1]);
        ON_EACH_KIND(nothing_more, setsockopt(fd, names[n][0], names[n][1], NULL, 200), "setsockopt %d %d 200 at null", names[n][0], names[n][1]);
        ON_EACH_KIND(nothing_more, setsockopt(fd, names[n][0], names[n][1], gone, 200), "setsockopt %d %d unmapped", names[n][0], names[n][1]);
        ON_EACH_KIND(nothing_more, setsockopt(fd, names[n][0], names[n][1], gone - 4, 200), "setsockopt %d %d half unmapped", names[n][0], names[n][1]);
    }
}
static const char *const joined[] = {"239.1.2.3", "239.1.2.4", "239.9.9.9", "10.77.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1"};
static void sweep_membership(void) {
    begin();
    const int names[] = {IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP};
    const char *const interfaces[] = {"10.77.0.1", "0.0.0.0", "127.0.0.1", "192.0.2.1"};
    for (int n = 0; n < 2; n++)
        for (int j = 0; j < 7; j++)
            for (int i = 0; i < 4; i++) {
                struct ip_mreqn request = {0};
                inet_pton(AF_INET, joined[j], &request.imr_multiaddr);
                inet_pton(AF_INET, interfaces[i], &request.imr_address);
                for (int is_long = 0; is_long < 3; is_long++) {
                    request.imr_ifindex = is_long == 2 ? 4711 : 0;
                    ON_EACH_KIND(what_it_is_called, setsockopt(fd, IPPROTO_IP, names[n], &request, is_long ? 12 : 8),
                                 "%s %s at %s in form %d", n ? "leave" : "join", joined[j], interfaces[i], is_long);
                }
            }
    const char *const sources[] = {"10.77.0.1", "192.0.2.1", "239.1.2.3", "0.0.0.0"};
    const int filters[] = {IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP, IP_BLOCK_SOURCE, IP_UNBLOCK_SOURCE};
    for (int n = 0; n < 4; n++)
        for (int j = 0; j < 4; j++)
            for (int s = 0; s < 4; s++) {
                struct ip_mreq_source request = {0};
                inet_pton(AF_INET, joined[j], &request.imr_multiaddr);
                inet_pton(AF_INET, address(), &request.imr_interface);
                inet_pton(AF_INET, sources[s], &request.imr_sourceaddr);
                ON_EACH_KIND(nothing_more, setsockopt(fd, IPPROTO_IP, filters[n], &request, sizeof request),
                             "filter %d of %s from %s", filters[n], joined[j], sources[s]);
            }
}

// ---- descriptors
static void sweep_descriptors(void) {
    begin();
    const int commands[] = {F_GETFD, F_GETFL, F_GETOWN, F_GETSIG, F_GETLEASE, F_GETPIPE_SZ, F_GET_SEALS, F_GETLK, 9999, -1};
    static struct flock lock;
    for (int c = 0; c < 10; c++)
        ON_EACH_KIND(nothing_more, (lock = (struct flock){.l_type = F_RDLCK}, fcntl(fd, commands[c], &lock)), "fcntl %d", commands[c]);
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETFD, FD_CLOEXEC) | fcntl(fd, F_GETFD) << 4, "fcntl SETFD");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETFL, O_NONBLOCK) | fcntl(fd, F_GETFL) << 1, "fcntl SETFL NONBLOCK");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETFL, 0), "fcntl SETFL 0");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETFL, O_ASYNC), "fcntl SETFL ASYNC");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETFL, -1), "fcntl SETFL -1");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETOWN, getpid()), "fcntl SETOWN");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETOWN, -2147483647), "fcntl SETOWN nobody");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_SETSIG, 999), "fcntl SETSIG 999");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_GETLK, (void *)half_there(-1)), "fcntl GETLK unmapped");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_DUPFD, -1), "fcntl DUPFD -1");
    ON_EACH_KIND(nothing_more, fcntl(fd, F_DUPFD, 1 << 30), "fcntl DUPFD beyond the limit");
    ON_EACH_KIND(what_it_is_called, ({ int copy = fcntl(fd, F_DUPFD, 700); copy > 0 ? close(copy) : copy; }), "fcntl DUPFD");
    ON_EACH_KIND(what_it_is_called, ({ int copy = dup(fd); copy > 0 ? close(copy) : copy; }), "dup and close");
    ON_EACH_KIND(what_is_left, dup2(fd, fd) == fd ? 1 : -1, "dup2 onto itself");
    ON_EACH_KIND(nothing_more, dup3(fd, fd, 0), "dup3 onto itself");
    ON_EACH_KIND(nothing_more, dup3(fd, 700, 0x1234), "dup3 unknown flags");
    ON_EACH_KIND(nothing_more, dup2(fd, -1), "dup2 onto -1");
    ON_EACH_KIND(nothing_more, dup2(fd, 1 << 30), "dup2 beyond the limit");
    ON_EACH_KIND(what_is_left, ({ int copy = dup2(fd, 701); int end = close(fd); copy == -1 ? -1 : dup2(701, fd) == fd ? close(701), end : -2; }), "dup2 there and back");
    ON_EACH_KIND(nothing_more, ({ int end = close(fd); end == -1 ? -1 : read(fd, room, 1); }), "close and read");
    ON_EACH_KIND(nothing_more, close_range(fd, fd, 0x100), "close_range unknown flags");
    ON_EACH_KIND(nothing_more, close_range(fd, fd - 1, 0), "close_range backwards");
    ON_EACH_KIND(nothing_more, lseek(fd, 0, SEEK_CUR), "lseek");
    ON_EACH_KIND(nothing_more, isatty(fd) ? 1 : -1, "isatty");
    ON_EACH_KIND(nothing_more, fsync(fd), "fsync");
    ON_EACH_KIND(nothing_more, ftruncate(fd, 4), "ftruncate");
    struct stat status;
    ON_EACH_KIND(nothing_more, fstat(fd, &status) == -1 ? -1 : (status.st_mode & S_IFMT) >> 12, "fstat");
    ON_EACH_KIND(nothing_more, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, "mmap");
    ON_EACH_KIND(what_the_group_heard, ({ int in = k_file(); long sent = sendfile(fd, in, NULL, 10); close(in); sent; }), "sendfile to it");
    ON_EACH_KIND(what_is_left, ({ int out = k_file(); long sent = sendfile(out, fd, NULL, 10); int error = errno; close(out); errno = error; sent; }), "sendfile from it");
    ON_EACH_KIND(what_is_left, sendfile(fd, 999, NULL, 10), "sendfile from none");
    // ioctl
    static int number;
    char *gone = half_there(-1);
    const struct { const char *name; unsigned long request; } requests[] = {
        {"FIONREAD", FIONREAD}, {"TIOCOUTQ", SIOCOUTQ}, {"FIOCLEX", FIOCLEX}, {"FIONCLEX", FIONCLEX},
        {"SIOCATMARK", SIOCATMARK}, {"FIOGETOWN", FIOGETOWN}, {"SIOCGPGRP", SIOCGPGRP},
        {"SIOCGSTAMP", SIOCGSTAMP_OLD}, {"TCGETS", 0x5401}, {"nothing", 0}, {"-1", (unsigned long)-1},
    };
    for (int r = 0; r < 11; r++) {
        ON_EACH_KIND(what_is_left, (number = 0, ioctl(fd, requests[r].request, &number)) == -1 ? -1 : number, "ioctl %s", requests[r].name);
        ON_EACH_KIND(what_is_left, ioctl(fd, requests[r].request, gone), "ioctl %s unmapped", requests[r].name);
        ON_EACH_KIND(what_is_left, ioctl(fd, requests[r].request, NULL), "ioctl %s at null", requests[r].name);
    }
    for (number = 0; number < 2; number++) {
        ON_EACH_KIND(nothing_more, ioctl(fd, FIONBIO, &number) | fcntl(fd, F_GETFL) << 1, "ioctl FIONBIO %d", number);
        ON_EACH_KIND(nothing_more, ioctl(fd, FIOASYNC, &number), "ioctl FIOASYNC %d", number);
    }
    ON_EACH_KIND(nothing_more, ioctl(fd, FIONBIO, gone), "ioctl FIONBIO unmapped");
}

// ---- readiness
static struct pollfd polled;
static void told_events(int fd, long result) {
    (void)fd;
    if (result != -1) printf(", %x", polled.revents);
}
static long poll_for(int fd, short events, int how) {
    polled = (struct pollfd){.fd = fd, .events = events, .revents = 0x55};
    struct timespec now = {0};
    return how ? ppoll(&polled, 1, &now, NULL) : poll(&polled, 1, 0);
}
static fd_set sets[3];
static long select_for(int fd, int which, int highest, int how) {
    if (fd < 0 || fd >= FD_SETSIZE) return errno = ERANGE, -1; // the macros forbid it
    for (int s = 0; s < 3; s++) FD_ZERO(&sets[s]);
    for (int s = 0; s < 3; s++)
        if (which & 1 << s) FD_SET(fd, &sets[s]);
    struct timeval now = {0};
    struct timespec now_too = {0};
    long count = how ? pselect(highest, &sets[0], &sets[1], &sets[2], &now_too, NULL)
                     : select(highest, &sets[0], &sets[1], &sets[2], &now);
    return count == -1 ? -1 : count * 16 + !!FD_ISSET(fd, &sets[0]) + !!FD_ISSET(fd, &sets[1]) * 2 + !!FD_ISSET(fd, &sets[2]) * 4;
}
static void sweep_ready(void) {
    begin();
    const short events[] = {0, POLLIN, POLLOUT, POLLIN | POLLOUT | POLLPRI, POLLRDNORM | POLLWRNORM, POLLRDHUP, POLLMSG, -1};
    for (int how = 0; how < 2; how++)
        for (int e = 0; e < 8; e++)
            ON_EACH_KIND(told_events, poll_for(fd, events[e], how), "%s for %x", how ? "ppoll" : "poll", (unsigned short)events[e]);
    struct pollfd *gone = (void *)half_there(-1);
    ON_EACH_KIND(nothing_more, poll(gone, 1, 0), "poll unmapped");
    ON_EACH_KIND(nothing_more, poll(NULL, 0, 0), "poll of none");
    ON_EACH_KIND(nothing_more, poll(NULL, 1, 0), "poll at null");
    struct timespec wrong = {.tv_nsec = -1};
    ON_EACH_KIND(nothing_more, (polled = (struct pollfd){.fd = fd}, ppoll(&polled, 1, &wrong, NULL)), "ppoll wrong time");
    ON_EACH_KIND(nothing_more, (polled = (struct pollfd){.fd = fd}, ppoll(&polled, 1, (void *)gone, NULL)), "ppoll unmapped time");
    for (int how = 0; how < 2; how++)
        for (int which = 0; which < 8; which++)
            ON_EACH_KIND(nothing_more, select_for(fd, which, fd + 1, how), "%s sets %d", how ? "pselect" : "select", which);
    ON_EACH_KIND(nothing_more, select_for(fd, 1, -1, 0), "select up to -1");
    ON_EACH_KIND(nothing_more, select_for(fd, 1, 0, 0), "select up to 0");
    ON_EACH_KIND(nothing_more, select(fd, (void *)gone, NULL, NULL, &(struct timeval){0}), "select unmapped");
    ON_EACH_KIND(nothing_more, select(0, NULL, NULL, NULL, &(struct timeval){.tv_usec = -1}), "select wrong time");
    int epoll = MUST(epoll_create1(0));
    const int doings[] = {EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, 0, 99};
    for (int d = 0; d < 5; d++) {
        struct epoll_event event = {.events = EPOLLIN};
        ON_EACH_KIND(nothing_more, ({ long end = epoll_ctl(epoll, doings[d], fd, &event); int error = errno; if (!end) epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event); errno = error; end; }), "epoll_ctl %d", doings[d]);
        ON_EACH_KIND(nothing_more, epoll_ctl(epoll, doings[d], fd, NULL), "epoll_ctl %d event at null", doings[d]);
        ON_EACH_KIND(nothing_more, epoll_ctl(epoll, doings[d], fd, (void *)gone), "epoll_ctl %d unmapped event", doings[d]);
        ON_EACH_KIND(nothing_more, epoll_ctl(fd, doings[d], observes, &event), "epoll_ctl %d of it", doings[d]);
        ON_EACH_KIND(nothing_more, epoll_ctl(999, doings[d], fd, &event), "epoll_ctl %d of none", doings[d]);
    }
    const unsigned asked[] = {0, EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT, EPOLLET | EPOLLIN, EPOLLONESHOT | EPOLLIN, EPOLLEXCLUSIVE | EPOLLIN, EPOLLEXCLUSIVE | EPOLLONESHOT, EPOLLRDHUP | EPOLLPRI, EPOLLWAKEUP | EPOLLIN};
    for (int a = 0; a < 10; a++) {
        struct epoll_event event = {.events = asked[a]}, told_event = {0};
        ON_EACH_KIND(nothing_more, ({
            int own = MUST(epoll_create1(0));
            errno = 0;
            long end = epoll_ctl(own, EPOLL_CTL_ADD, fd, &event);
            int error = errno;
            told_event.events = 0;
            if (!end) end = epoll_wait(own, &told_event, 1, 0) * 65536 + told_event.events;
            close(own);
            errno = error;
            end;
        }), "epoll for %x", asked[a]);
    }
}

MAIN(CASE(sweep_bind), CASE(sweep_connect), CASE(sweep_names), CASE(sweep_getsockopt), CASE(sweep_setsockopt),
     CASE(sweep_membership), CASE(sweep_descriptors), CASE(sweep_ready))
