// socket, bind, connect, getsockname, getpeername, shutdown, close: who a socket is.
#include "steps.h"

static void names(void) {
    int fd = udp();
    SAY_SOCK("fresh", fd);
    MUST(on(fd, SOL_SOCKET, SO_REUSEADDR));
    bind_for(fd, GROUP, PORT);
    SAY_SOCK("bound", fd);
    SAY_PEER("bound peer", fd);
    STEP("join", join(fd, GROUP));
    SAY_SOCK("joined", fd);
    SAY_PEER("joined peer", fd);
    say("domain: %d", option(fd, SOL_SOCKET, SO_DOMAIN));
    say("type: %d", option(fd, SOL_SOCKET, SO_TYPE));
    say("protocol: %d", option(fd, SOL_SOCKET, SO_PROTOCOL));
    say("error: %d", option(fd, SOL_SOCKET, SO_ERROR));
    say("listening: %d", option(fd, SOL_SOCKET, SO_ACCEPTCONN));
    struct stat status;
    STEP("fstat", fstat(fd, &status));
    say("is a socket: %d", S_ISSOCK(status.st_mode) != 0);
    struct sockaddr_in a = {0};
    socklen_t length = 4;
    STEP("short name", getsockname(fd, SA(a), &length));
    say("short name: family %d port %d address %x length %u", a.sin_family, ntohs(a.sin_port),
        a.sin_addr.s_addr, length);
    length = -1;
    STEP("negative length", getsockname(fd, SA(a), &length));
    length = sizeof a;
    STEP("null address", getsockname(fd, NULL, &length));
    STEP("null length", getsockname(fd, SA(a), NULL));
    STEP("not a descriptor", getsockname(999, SA(a), &length));
    STEP("not a socket", getsockname(0, SA(a), &length));
    STEP("close", close(fd));
    STEP("closed", getsockname(fd, SA(a), &length));
    STEP("close again", close(fd));
}

static void bind_errors(void) {
    struct sockaddr_in a = at(GROUP, PORT);
    int fd = udp();
    STEP("short", bind(fd, SA(a), 4));
    STEP("null", bind(fd, NULL, sizeof a));
    STEP("bad descriptor", bind(999, SA(a), sizeof a));
    STEP("not a socket", bind(0, SA(a), sizeof a));
    struct sockaddr_in6 a6 = at6(GROUP_6, PORT);
    STEP("other family", bind(fd, SA(a6), sizeof a6));
    a.sin_family = AF_UNIX;
    STEP("odd family", bind(fd, SA(a), sizeof a));
    a = at("192.0.2.1", PORT);
    STEP("not local", bind(fd, SA(a), sizeof a));
    a = at(GROUP, PORT);
    STEP("first", bind(fd, SA(a), sizeof a));
    STEP("again", bind(fd, SA(a), sizeof a));
    SAY_SOCK("after all", fd);
}

static void second_bind(void) {
    struct sockaddr_in a = at(binds_any() ? "0.0.0.0" : GROUP, PORT);
    int first = udp(), second = udp(), third = udp(), fourth = udp();
    STEP("first", bind(first, SA(a), sizeof a));
    STEP("second without reuse", bind(second, SA(a), sizeof a));
    on(second, SOL_SOCKET, SO_REUSEADDR);
    STEP("second with reuse, first without", bind(second, SA(a), sizeof a));
    close(first);
    STEP("second after close", bind(second, SA(a), sizeof a));
    on(third, SOL_SOCKET, SO_REUSEADDR);
    STEP("third with reuse, second too", bind(third, SA(a), sizeof a));
    on(fourth, SOL_SOCKET, SO_REUSEPORT);
    STEP("fourth with reuseport", bind(fourth, SA(a), sizeof a));
    close(second);
    close(third);
    STEP("fourth alone", bind(fourth, SA(a), sizeof a));
    int fifth = udp();
    on(fifth, SOL_SOCKET, SO_REUSEPORT);
    STEP("fifth with reuseport", bind(fifth, SA(a), sizeof a));
    // The same after joins, which may move sockets about.
    int sixth = udp();
    STEP("join", join(fourth, GROUP));
    STEP("sixth without reuse", bind(sixth, SA(a), sizeof a));
    pid_t child = MUST(fork());
    if (child == 0) {
        int other = udp();
        STEP("another process without reuse", bind(other, SA(a), sizeof a));
        on(other, SOL_SOCKET, SO_REUSEPORT);
        STEP("another process with reuseport", bind(other, SA(a), sizeof a));
        _exit(0);
    }
    await_child("child", child);
    struct sockaddr_in elsewhere = at(GROUP, PORT_2);
    STEP("another port", bind(sixth, SA(elsewhere), sizeof elsewhere));
}

static void copies(void) {
    int first = receiver(), second = receiver(), out = sender();
    STEP("send", tell(out, "one"));
    STEP("send", tell(out, "two"));
    hear("first", first);
    hear("second", second);
    hear("first", first);
    hear("second", second);
    hear_nothing("first is empty", first);
    hear_nothing("second is empty", second);
}

static void copies_reuseport(void) {
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = udp();
        MUST(on(fds[i], SOL_SOCKET, SO_REUSEPORT));
        bind_for(fds[i], GROUP, PORT);
        MUST(join(fds[i], GROUP));
    }
    int out = sender();
    STEP("send", tell(out, "one"));
    hear("first", fds[0]);
    hear("second", fds[1]);
}

static void own_copy(void) {
    int fd = receiver();
    struct in_addr interface;
    inet_pton(AF_INET, address(), &interface);
    MUST(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface));
    STEP("send", tell(fd, "to all and to me"));
    struct sockaddr_in from = {0};
    socklen_t length = sizeof from;
    char text[64] = {0};
    await_in(fd);
    STEP("receive", recvfrom(fd, text, sizeof text, 0, SA(from), &length));
    say("text: %s", text);
    say_address("from", &from, length);
}

static void source(void) {
    int in = receiver(), out = sender();
    STEP("send", tell(out, "hello"));
    struct sockaddr_in from = {0}, own = {0};
    socklen_t length = sizeof from, own_length = sizeof own;
    char text[64];
    await_in(in);
    STEP("receive", recvfrom(in, text, sizeof text, 0, SA(from), &length));
    MUST(getsockname(out, SA(own), &own_length));
    say_address("from", &from, length);
    say("same port as the sender's: %d", from.sin_port == own.sin_port && own.sin_port != 0);
    say("the sender has no address: %d", own.sin_addr.s_addr == 0);
    // Answer to the sender, which was never bound.
    STEP("answer", sendto(in, "answer", 6, 0, SA(from), length));
    struct sockaddr_in back = {0};
    length = sizeof back;
    await_in(out);
    STEP("answer received", recvfrom(out, text, sizeof text, 0, SA(back), &length));
    say_address("answer from", &back, length);
}

static void connected_receiver(void) {
    int in = receiver(), friend = named_sender(6001), stranger = named_sender(6002);
    struct sockaddr_in peer = at(address(), 6001);
    STEP("send before", tell(stranger, "queued before connect"));
    await_in(in);
    STEP("connect", connect(in, SA(peer), sizeof peer));
    struct sockaddr_in name = {0};
    socklen_t length = sizeof name;
    STEP("peer", getpeername(in, SA(name), &length));
    say("peer port: %d", ntohs(name.sin_port));
    SAY_SOCK("name", in);
    hear("what was queued stays", in);
    STEP("stranger", tell(stranger, "from a stranger"));
    STEP("friend", tell(friend, "from a friend"));
    hear("received", in);
    hear_nothing("nothing else", in);
    STEP("answer without address", send(in, "answer", 6, 0));
    hear("friend hears", friend);
    struct sockaddr_in nobody = {.sin_family = AF_UNSPEC};
    STEP("disconnect", connect(in, SA(nobody), sizeof nobody));
    SAY_PEER("peer", in);
    SAY_SOCK("name", in);
    STEP("send without address", send(in, "x", 1, 0));
    STEP("stranger", tell(stranger, "from a stranger again"));
    hear("received", in);
}

// As iperf does: peek at the first datagram, connect to its source, open a new socket for others.
static void connect_like_iperf(void) {
    int in = receiver(), out = named_sender(6001), other = named_sender(6002);
    STEP("send", tell(out, "first"));
    struct sockaddr_in from = {0};
    socklen_t length = sizeof from;
    char text[64] = {0};
    STEP("peek", recvfrom(in, text, sizeof text, MSG_PEEK, SA(from), &length));
    say("from port %d", ntohs(from.sin_port));
    STEP("connect", connect(in, SA(from), length));
    int fresh = receiver();
    STEP("send", tell(out, "second"));
    STEP("send", tell(other, "from another"));
    hear("connected", in);
    hear("connected", in);
    hear_nothing("connected, no more", in);
    hear("fresh", fresh);
    hear("fresh", fresh);
}

static void connected_sender(void) {
    int in = receiver(), out = sender();
    struct sockaddr_in group = at(GROUP, PORT);
    STEP("connect", connect(out, SA(group), sizeof group));
    SAY_SOCK("name", out);
    SAY_PEER("peer", out);
    STEP("send", send(out, "send", 4, 0));
    STEP("write", write(out, "write", 5));
    struct iovec parts[3] = {{"wr", 2}, {"it", 2}, {"ev", 2}};
    STEP("writev", writev(out, parts, 3));
    STEP("sendto null", sendto(out, "sendto", 6, 0, NULL, 0));
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    STEP("sendmsg", sendmsg(out, &message, 0));
    struct sockaddr_in second = at(GROUP_2, PORT);
    int in_2 = receiver_of(GROUP_2, PORT);
    STEP("sendto elsewhere", sendto(out, "elsewhere", 9, 0, SA(second), sizeof second));
    for (int i = 0; i < 5; i++) hear("received", in);
    hear("elsewhere", in_2);
    STEP("connect to the other", connect(out, SA(second), sizeof second));
    STEP("send", send(out, "reconnected", 11, 0));
    hear("received", in_2);
    STEP("shutdown reading", shutdown(out, SHUT_RD));
    STEP("send", send(out, "still", 5, 0));
    hear("received", in_2);
    STEP("shutdown writing", shutdown(out, SHUT_WR));
    signal(SIGPIPE, SIG_IGN);
    STEP("send after shutdown", send(out, "no", 2, 0));
}

static void filter_by_bind(void) {
    int in = receiver(), out = sender();
    STEP("join the second", join(in, GROUP_2));
    STEP("send to the second", tell_to(out, GROUP_2, PORT, "second", 6));
    STEP("send to the second, another port", tell_to(out, GROUP_2, PORT_2, "port", 4));
    STEP("send to the first", tell(out, "first"));
    hear("received", in);
    if (binds_any()) hear("received", in);
    hear_nothing("no more", in);
}

static void unicast_too(void) { // only for receivers bound to any
    int in = receiver(), out = named_sender(6001);
    STEP("send to the group", tell(out, "group"));
    hear("received", in);
    STEP("send to the host", tell_to(out, address(), PORT, "unicast", 7));
    hear("received", in);
    STEP("send to the group", tell(out, "group again"));
    hear("received", in);
    int bare = udp();
    STEP("from an unbound socket", tell_to(bare, address(), PORT, "unicast", 7));
    struct sockaddr_in from = {0}, own = {0};
    socklen_t length = sizeof from, own_length = sizeof own;
    char text[64];
    await_in(in);
    STEP("receive", recvfrom(in, text, sizeof text, 0, SA(from), &length));
    MUST(getsockname(bare, SA(own), &own_length));
    say("its port: %d", from.sin_port == own.sin_port);
    STEP("answer", sendto(in, "answer", 6, 0, SA(from), length));
    hear("answered", bare);
    STEP("to a group that nobody orders", join(in, GROUP_PLAIN));
    STEP("send", tell_to(out, GROUP_PLAIN, PORT, "plain", 5));
    hear("received", in);
}

static void not_joined(void) {
    // Bound, but no member: with IP_MULTICAST_ALL it hears what others on the host joined.
    int member = receiver(), in = udp(), out = sender();
    MUST(on(in, SOL_SOCKET, SO_REUSEADDR));
    bind_for(in, GROUP, PORT);
    STEP("send", tell(out, "first"));
    hear("member", member);
    STEP("not a member", in_within(in, 300));
}

static void multicast_all_off(void) {
    int member = receiver(), in = udp(), out = sender();
    MUST(on(in, SOL_SOCKET, SO_REUSEADDR));
    MUST(set(in, IPPROTO_IP, IP_MULTICAST_ALL, 0));
    bind_for(in, GROUP, PORT);
    STEP("send", tell(out, "before join"));
    hear("member", member);
    STEP("join", join(in, GROUP));
    STEP("send", tell(out, "after join"));
    hear("received", in);
}

static void shutdown_unconnected(void) {
    int in = receiver(), out = sender();
    STEP("shutdown reading", shutdown(in, SHUT_RD));
    char text[16];
    STEP("receive", recv(in, text, sizeof text, MSG_DONTWAIT));
    STEP("ready", in_within(in, 5000) & (POLLIN | POLLRDHUP));
    STEP("odd how", shutdown(in, 7));
    STEP("bad descriptor", shutdown(999, SHUT_RD));
    STEP("send", tell(out, "x"));
}

static void rebind_after_close(void) {
    for (int round = 0; round < 50; round++) {
        int in = udp(), out = sender();
        bind_for(in, GROUP, PORT); // without reuse: the last round's must be gone
        MUST(join(in, GROUP));
        char text[16] = {0}, expected[16];
        int length = snprintf(expected, sizeof expected, "round %d", round);
        MUST(tell(out, expected));
        await_in(in);
        if (recv(in, text, sizeof text, MSG_DONTWAIT) != length || strcmp(text, expected))
            say("round %d got %s", round, text);
        close(in);
        close(out);
    }
    say("rounds: done");
}

static void group_6(void) {
    int in = receiver6(), out = sender6();
    STEP("send", tell6(out, "six", 3));
    struct sockaddr_in6 from = {0}, own = {0};
    socklen_t length = sizeof from;
    char text[64] = {0}, name[64] = "?";
    await_in(in);
    STEP("receive", recvfrom(in, text, sizeof text, 0, SA(from), &length));
    inet_ntop(AF_INET6, &from.sin6_addr, name, sizeof name);
    bool is_link_local = IN6_IS_ADDR_LINKLOCAL(&from.sin6_addr);
    say("from: family %d %s length %u", from.sin6_family, is_link_local ? "link" : name, length);
    say("scope is the link's or none: %d", from.sin6_scope_id == (is_link_local ? link_index() : 0));
    length = sizeof own;
    STEP("name", getsockname(in, SA(own), &length));
    inet_ntop(AF_INET6, &own.sin6_addr, name, sizeof name);
    say("name: family %d %s port %d length %u", own.sin6_family, name, ntohs(own.sin6_port), length);
    say("domain: %d", option(in, SOL_SOCKET, SO_DOMAIN));
    length = sizeof from;
    STEP("answer", sendto(in, "answer", 6, 0, SA(from), length));
    hear("answered", out);
    int copy = receiver6();
    STEP("send", tell6(out, "again", 5));
    hear("first", in);
    hear("second", copy);
}

// The JDK's way: an IPv6 socket bound to [::] that joins an IPv4 group by SOL_IP.
static void dual_stack(void) {
    int in = MUST(socket(AF_INET6, SOCK_DGRAM, 0)), out = sender();
    STEP("v6only", set(in, IPPROTO_IPV6, IPV6_V6ONLY, 0));
    MUST(on(in, SOL_SOCKET, SO_REUSEADDR));
    struct sockaddr_in6 any = at6("::", PORT);
    STEP("bind", bind(in, SA(any), sizeof any));
    STEP("join", join(in, GROUP));
    STEP("send", tell(out, "four to six"));
    struct sockaddr_in6 from = {0};
    socklen_t length = sizeof from;
    char text[64] = {0}, name[64] = "?";
    await_in(in);
    STEP("receive", recvfrom(in, text, sizeof text, 0, SA(from), &length));
    inet_ntop(AF_INET6, &from.sin6_addr, name, sizeof name);
    say("from: family %d %s length %u", from.sin6_family, name, length);
    struct sockaddr_in6 own = {0};
    length = sizeof own;
    STEP("name", getsockname(in, SA(own), &length));
    inet_ntop(AF_INET6, &own.sin6_addr, name, sizeof name);
    say("name: %s port %d", name, ntohs(own.sin6_port));
    // It sends to the group in the mapped form.
    struct in_addr interface;
    inet_pton(AF_INET, address(), &interface);
    STEP("interface", setsockopt(in, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface));
    struct sockaddr_in6 mapped = at6("::ffff:" GROUP, PORT);
    STEP("send mapped", sendto(in, "mapped", 6, 0, SA(mapped), sizeof mapped));
    hear("received", in);
    int four = receiver();
    STEP("send mapped", sendto(in, "to four", 7, 0, SA(mapped), sizeof mapped));
    hear("four hears", four);
    hear("six hears", in);
    STEP("leave", leave(in, GROUP));
}

MAIN(CASE(names), CASE(bind_errors), CASE(second_bind), CASE(copies), CASE(copies_reuseport),
     CASE(own_copy), CASE(source), CASE(connected_receiver), CASE(connect_like_iperf),
     CASE(connected_sender), CASE(filter_by_bind), CASE(unicast_too), CASE(not_joined),
     CASE(multicast_all_off), CASE(shutdown_unconnected), CASE(rebind_after_close), CASE(group_6),
     CASE(dual_stack))
