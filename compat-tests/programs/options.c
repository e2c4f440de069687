// setsockopt, getsockopt, fcntl: memberships and what a socket remembers.
#include "steps.h"

static void membership_errors(void) {
    int in = receiver();
    STEP("join twice", join(in, GROUP));
    STEP("leave", leave(in, GROUP));
    STEP("leave again", leave(in, GROUP));
    STEP("never joined", leave(in, GROUP_2));
    STEP("not multicast", join(in, "10.77.0.9"));
    STEP("leave not multicast", leave(in, "10.77.0.9"));
    struct ip_mreq request = {0};
    inet_pton(AF_INET, GROUP, &request.imr_multiaddr);
    inet_pton(AF_INET, "192.0.2.7", &request.imr_interface);
    STEP("no such interface", setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
    STEP("short", setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, 4));
    STEP("null", setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, NULL, sizeof request));
    STEP("bad descriptor", setsockopt(999, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
    STEP("not a socket", setsockopt(0, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
    STEP("unknown option", set(in, IPPROTO_IP, 199, 1));
    STEP("unknown level", set(in, 199, 1, 1));
    int tcp = MUST(socket(AF_INET, SOCK_STREAM, 0));
    STEP("on a stream", join(tcp, GROUP));
    STEP("join again", join(in, GROUP));
    int out = sender();
    MUST(tell(out, "after all that"));
    hear("received", in);
}

static void twenty_memberships(void) {
    int in = udp();
    on(in, SOL_SOCKET, SO_REUSEADDR);
    bind_for(in, GROUP, PORT);
    char group[32];
    for (int i = 1; i <= 21; i++) {
        snprintf(group, sizeof group, "239.1.3.%d", i);
        errno = 0;
        int result = join(in, group);
        if (i > 19 || result) step(group, result);
    }
    STEP("one more", join(in, GROUP));
    STEP("leave one", leave(in, "239.1.3.1"));
    STEP("one more", join(in, GROUP));
    int out = sender();
    if (binds_any()) {
        for (int i = 2; i <= 20; i++) {
            snprintf(group, sizeof group, "239.1.3.%d", i);
            MUST(tell_to(out, group, PORT, group, strlen(group)));
            hear("received", in);
        }
    }
    MUST(tell(out, "last"));
    hear("received", in);
}

static void forms_of_join(void) {
    int in = udp(), out = sender();
    on(in, SOL_SOCKET, SO_REUSEADDR);
    bind_for(in, GROUP, PORT);
    struct ip_mreqn by_index = {.imr_ifindex = link_index()};
    inet_pton(AF_INET, GROUP, &by_index.imr_multiaddr);
    STEP("by index", setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_index, sizeof by_index));
    STEP("and by address", join(in, GROUP));
    MUST(tell(out, "one"));
    hear("received", in);
    STEP("leave", setsockopt(in, IPPROTO_IP, IP_DROP_MEMBERSHIP, &by_index, sizeof by_index));
    struct ip_mreq by_route = {0};
    inet_pton(AF_INET, GROUP, &by_route.imr_multiaddr);
    STEP("by route", setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_route, sizeof by_route));
    MUST(tell(out, "two"));
    hear("received", in);
    STEP("leave", setsockopt(in, IPPROTO_IP, IP_DROP_MEMBERSHIP, &by_route, sizeof by_route));
    struct group_req independent = {.gr_interface = link_index()};
    struct sockaddr_in a = at(GROUP, 0);
    memcpy(&independent.gr_group, &a, sizeof a);
    STEP("independent", setsockopt(in, IPPROTO_IP, MCAST_JOIN_GROUP, &independent, sizeof independent));
    MUST(tell(out, "three"));
    hear("received", in);
    STEP("twice", setsockopt(in, IPPROTO_IP, MCAST_JOIN_GROUP, &independent, sizeof independent));
    STEP("leave", setsockopt(in, IPPROTO_IP, MCAST_LEAVE_GROUP, &independent, sizeof independent));
    STEP("leave", setsockopt(in, IPPROTO_IP, MCAST_LEAVE_GROUP, &independent, sizeof independent));
    STEP("join on the old way", join(in, GROUP));
    MUST(tell(out, "four"));
    hear("received", in);
}

static void join_before_bind(void) {
    int in = udp(), out = sender();
    on(in, SOL_SOCKET, SO_REUSEADDR);
    STEP("join", join(in, GROUP));
    bind_for(in, GROUP, PORT);
    STEP("send", tell(out, "x"));
    hear("received", in);
}

static void join_without_bind(void) {
    int in = udp();
    STEP("join", join(in, GROUP));
    struct in_addr interface;
    inet_pton(AF_INET, address(), &interface);
    MUST(setsockopt(in, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface));
    int other = receiver();
    STEP("send", tell(in, "from a member without a port"));
    hear("other", other);
    hear_nothing("itself has another port", in);
}

static void one_source(void) {
    int in = udp(), out = named_sender(6001);
    on(in, SOL_SOCKET, SO_REUSEADDR);
    bind_for(in, GROUP, PORT);
    struct ip_mreq_source request = {0};
    inet_pton(AF_INET, GROUP, &request.imr_multiaddr);
    inet_pton(AF_INET, address(), &request.imr_interface);
    inet_pton(AF_INET, "10.77.0.200", &request.imr_sourceaddr);
    STEP("join for a stranger", setsockopt(in, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
    int witness = receiver();
    STEP("send", tell(out, "not wanted"));
    hear("witness", witness);
    inet_pton(AF_INET, address(), &request.imr_sourceaddr);
    STEP("join for the sender", setsockopt(in, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
    STEP("send", tell(out, "wanted"));
    hear("received", in);
    STEP("leave the source", setsockopt(in, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, sizeof request));
    STEP("twice", setsockopt(in, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, sizeof request));
    STEP("any-source join", join(in, GROUP));
    STEP("leave", leave(in, GROUP));
    STEP("join for all", join(in, GROUP));
    STEP("block", setsockopt(in, IPPROTO_IP, IP_BLOCK_SOURCE, &request, sizeof request));
    STEP("send", tell(out, "blocked"));
    hear("witness", witness);
    hear("witness", witness);
    STEP("unblock", setsockopt(in, IPPROTO_IP, IP_UNBLOCK_SOURCE, &request, sizeof request));
    STEP("send", tell(out, "unblocked"));
    hear("received", in);
}

static void memory(void) {
    int in = receiver(), out = sender();
    int level[][3] = {{SOL_SOCKET, SO_REUSEADDR, 1}, {SOL_SOCKET, SO_BROADCAST, 1},
                      {SOL_SOCKET, SO_KEEPALIVE, 1}, {SOL_SOCKET, SO_PRIORITY, 3},
                      {SOL_SOCKET, SO_RCVBUF, 50000}, {SOL_SOCKET, SO_SNDBUF, 60000},
                      {SOL_SOCKET, SO_RCVLOWAT, 1}, {SOL_SOCKET, SO_DONTROUTE, 0},
                      {IPPROTO_IP, IP_MULTICAST_TTL, 9}, {IPPROTO_IP, IP_MULTICAST_LOOP, 0},
                      {IPPROTO_IP, IP_MULTICAST_ALL, 0}, {IPPROTO_IP, IP_TTL, 44},
                      {IPPROTO_IP, IP_TOS, 16}, {IPPROTO_IP, IP_PKTINFO, 1},
                      {IPPROTO_IP, IP_RECVTTL, 1}, {IPPROTO_IP, IP_RECVTOS, 1},
                      {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT}, {IPPROTO_IP, IP_FREEBIND, 1},
                      {SOL_SOCKET, SO_TIMESTAMP, 1}, {SOL_SOCKET, SO_RXQ_OVFL, 1}};
    for (size_t i = 0; i < sizeof level / sizeof *level; i++) {
        char name[64];
        int before = option(in, level[i][0], level[i][1]);
        errno = 0;
        int result = set(in, level[i][0], level[i][1], level[i][2]);
        snprintf(name, sizeof name, "option %d of level %d", level[i][1], level[i][0]);
        if (result) step(name, result);
        say("%s: %d then %d", name, before, option(in, level[i][0], level[i][1]));
    }
    struct in_addr interface = {0};
    socklen_t length = sizeof interface;
    STEP("interface", getsockopt(out, IPPROTO_IP, IP_MULTICAST_IF, &interface, &length));
    say("interface: %s length %u", inet_ntoa(interface), length);
    STEP("loop as a byte", setsockopt(out, IPPROTO_IP, IP_MULTICAST_LOOP, "\1", 1));
    STEP("ttl as a byte", setsockopt(out, IPPROTO_IP, IP_MULTICAST_TTL, "\3", 1));
    unsigned char byte = 99;
    length = 1;
    STEP("ttl back", getsockopt(out, IPPROTO_IP, IP_MULTICAST_TTL, &byte, &length));
    say("ttl: %d length %u", byte, length);
    STEP("ttl too large", set(out, IPPROTO_IP, IP_MULTICAST_TTL, 256));
    uint64_t cookie = 0;
    length = sizeof cookie;
    STEP("cookie", getsockopt(in, SOL_SOCKET, SO_COOKIE, &cookie, &length));
    say("cookie: %d", cookie != 0);
    MUST(tell(out, "still works"));
    hear("received", in);
    uint32_t usage[9] = {0};
    length = sizeof usage;
    STEP("memory", getsockopt(in, SOL_SOCKET, SO_MEMINFO, usage, &length));
    say("drops: %u", usage[8]);
}

static void small_queue(void) {
    // Natively most of these are lost in silence; Exo keeps what it took.
    int in = receiver(), out = sender();
    STEP("small", set(in, SOL_SOCKET, SO_RCVBUF, 4096));
    char text[600] = {0};
    int sent = 0, heard = 0;
    for (; sent < 400; sent++) {
        memcpy(text, &sent, sizeof sent);
        if (tell_to(out, GROUP, PORT, text, sizeof text) != sizeof text) break;
    }
    say("sent: %d", sent);
    while (in_within(in, heard == 400 ? 0 : 500) & POLLIN) {
        if (recv(in, text, sizeof text, MSG_DONTWAIT) == sizeof text) heard++;
    }
    say("all heard: %d", heard == sent);
}

static void timestamps(void) {
    int in = receiver(), out = sender();
    char text[16];
    struct timeval when = {0};
    MUST(tell(out, "x"));
    await_in(in);
    recv(in, text, sizeof text, MSG_DONTWAIT);
    ioctl(in, SIOCGSTAMP, &when); // switches time stamps on
    STEP("send", tell(out, "y"));
    await_in(in);
    STEP("receive", recv(in, text, sizeof text, MSG_DONTWAIT));
    STEP("stamp", ioctl(in, SIOCGSTAMP, &when));
    say("recent: %d", llabs(time(NULL) - when.tv_sec) < 5);
}

static void descriptors(void) {
    int in = receiver(), out = sender();
    int copy = STEP("duplicate", fcntl(in, F_DUPFD, 100));
    int cloexec = STEP("with close-on-exec", fcntl(in, F_DUPFD_CLOEXEC, 120));
    say("flags: %d %d", fcntl(copy, F_GETFD), fcntl(cloexec, F_GETFD));
    STEP("dup2", dup2(in, 140));
    STEP("dup3", dup3(in, 150, O_CLOEXEC));
    STEP("dup3 onto itself", dup3(in, in, 0));
    STEP("dup2 onto itself", dup2(in, in));
    STEP("dup2 of nothing", dup2(999, 160));
    int numbers[] = {copy, cloexec, 140, 150, in};
    for (int i = 0; i < 5; i++) {
        MUST(tell(out, "through any of them"));
        hear("received", numbers[i]);
    }
    STEP("leave by a copy", leave(140, GROUP));
    STEP("leave by the first", leave(in, GROUP));
    STEP("join by a copy", join(150, GROUP));
    STEP("close", close(in));
    MUST(tell(out, "after close"));
    hear("received", copy);
    STEP("flags", fcntl(copy, F_GETFL));
    STEP("unknown", fcntl(copy, 9999, 1));
    STEP("owner", fcntl(copy, F_SETOWN, getpid()));
    say("owner is me: %d", fcntl(copy, F_GETOWN) == getpid());
}

static void pointers(void) {
    int in = receiver(), out = sender();
    STEP("join", setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, (void *)8, sizeof(struct ip_mreq)));
    STEP("leave", setsockopt(in, IPPROTO_IP, IP_DROP_MEMBERSHIP, (void *)8, sizeof(struct ip_mreq)));
    STEP("bind", bind(udp(), (struct sockaddr *)8, sizeof(struct sockaddr_in)));
    STEP("connect", connect(out, (struct sockaddr *)8, sizeof(struct sockaddr_in)));
    socklen_t length = sizeof(struct sockaddr_in);
    STEP("getsockname", getsockname(in, (struct sockaddr *)8, &length));
    STEP("getsockopt", getsockopt(in, SOL_SOCKET, SO_TYPE, (void *)8, &length));
    MUST(tell(out, "still works"));
    hear("received", in);
}

MAIN(CASE(membership_errors), CASE(twenty_memberships), CASE(forms_of_join), CASE(join_before_bind),
     CASE(join_without_bind), CASE(one_source), CASE(memory), CASE(small_queue), CASE(timestamps),
     CASE(descriptors), CASE(pointers))
