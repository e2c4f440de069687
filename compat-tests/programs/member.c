// A member that sends, receives everything, and says at the end in which order it came.
//
//   member RATE COUNT FINALS [SIZE]
//
// With TRACE in its environment it writes sender and number (16 bytes) of each datagram to that
// file, in the order in which they came, after every look at its socket; GROUP names another group,
// PATIENCE_MS how long "a while" is. With SILENT it only receives.
//
// RATE datagrams a second (0: as fast as it can), COUNT of them (0: until told to finish). It
// prints `ready`, waits for the line `go`, prints `sent all` after COUNT, and at the line `finish`
// it sends its last word. When it has heard the last words of FINALS members, or nothing for a
// while, it prints its report. Everybody who heard everything up to the last of these last words
// has to report the same.
#include "steps.h"

enum { ORDINARY = 1, FINAL = 2, SENDERS = 8192 };
struct words {
    uint64_t sender, number;
    uint32_t kind, length;
};
struct sender_seen {
    uint64_t sender, next;
};
static struct sender_seen seen[SENDERS];
static uint64_t digest = 14695981039346656037u, received, gaps, disorder, dropped, senders, invented;
static uint32_t finals, finals_wanted;
static FILE *trace;

static struct sender_seen *find(uint64_t sender) {
    for (uint64_t at = sender * 0x9e3779b97f4a7c15u >> 51;; at = (at + 1) % SENDERS) {
        if (seen[at].sender == sender) return &seen[at];
        if (seen[at].sender == 0) {
            seen[at] = (struct sender_seen){sender, 1};
            senders++;
            return &seen[at];
        }
    }
}
static void mix(const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, length - i < 8 ? length - i : 8);
        digest = (digest ^ word) * 1099511628211u;
        digest ^= digest >> 29;
    }
}
static void heard(const char *bytes, size_t length) {
    struct words words;
    if (length < sizeof words || (memcpy(&words, bytes, sizeof words), words.length != length) ||
        words.sender == 0 || senders > SENDERS / 2) {
        invented++;
        return;
    }
    for (size_t i = sizeof words; i < length; i++)
        if (bytes[i] != (char)(words.number + i)) {
            invented++;
            return;
        }
    mix(bytes, length);
    received++;
    if (trace) fwrite(&words, 2 * sizeof(uint64_t), 1, trace);
    struct sender_seen *from = find(words.sender);
    if (words.number > from->next) gaps += words.number - from->next;
    if (words.number < from->next)
        disorder++;
    else
        from->next = words.number + 1;
    finals += words.kind == FINAL;
}

static int fd;
static uint64_t own, sent;
static bool transmit(uint32_t kind, size_t size) {
    static char bytes[2000];
    struct words words = {own, sent + 1, kind, size};
    memcpy(bytes, &words, sizeof words);
    for (size_t i = sizeof words; i < size; i++) bytes[i] = (char)(words.number + i);
    if (tell_to(fd, setting("GROUP", GROUP), PORT, bytes, size) != (long)size) {
        if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) return false;
        say("send failed: %s", strerrorname_np(errno));
        exit(3);
    }
    sent++;
    return true;
}
static bool receive_some(void) {
    // What comes behind the last of the last words is no part of the order that is compared.
    for (int i = 0; i < 256 && finals < finals_wanted; i++) {
        static char bytes[2000], space[64];
        struct iovec part = {bytes, sizeof bytes};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
        long length = recvmsg(fd, &message, MSG_DONTWAIT);
        if (length == -1) {
            if (errno == EAGAIN || errno == EINTR) return i > 0;
            say("receive failed: %s", strerrorname_np(errno));
            exit(4);
        }
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
                uint32_t count;
                memcpy(&count, CMSG_DATA(c), sizeof count);
                dropped = count;
            }
        heard(bytes, length);
    }
    return true;
}
static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000u + now.tv_nsec;
}

int main(int count, char **words) {
    if (count < 4) return 2;
    uint64_t rate = strtoul(words[1], NULL, 0), total = strtoul(words[2], NULL, 0);
    finals_wanted = strtoul(words[3], NULL, 0);
    uint64_t patience_ms = strtoul(setting("PATIENCE_MS", "4000"), NULL, 0);
    size_t size = count > 4 ? strtoul(words[4], NULL, 0) : 0;
    own = (uint64_t)getpid() << 32 ^ nanoseconds() | 1;
    bool is_silent = getenv("SILENT");
    if (getenv("TRACE")) trace = fopen(getenv("TRACE"), "w");
    fd = receiver_of(setting("GROUP", GROUP), PORT);
    MUST(on(fd, SOL_SOCKET, SO_RXQ_OVFL));
    struct in_addr interface;
    inet_pton(AF_INET, address(), &interface);
    MUST(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface));
    MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
    say("ready");
    bool going = false, finishing = false, last_word = false, has_input = true;
    uint64_t start = 0, quiet_since = 0;
    for (;;) {
        uint64_t now = nanoseconds();
        uint64_t due = !going || finishing ? 0
                       : rate == 0         ? UINT64_MAX
                                           : (now - start) / 1000 * rate / 1000000 + 1;
        if (total && due > total) due = total;
        bool wants_to_send = going && !finishing && !is_silent && sent < due;
        struct pollfd polls[2] = {{fd, POLLIN | (wants_to_send ? POLLOUT : 0), 0}, {has_input ? 0 : -1, POLLIN, 0}};
        int timeout = wants_to_send || (going && !finishing && rate && (!total || sent < total)) ? 1
                      : finishing                                                               ? 100
                                                                                                : -1;
        poll(polls, 2, timeout);
        if (polls[1].revents) {
            char line[64] = {0};
            long length = read(0, line, sizeof line - 1);
            if (length <= 0) has_input = false, going = finishing = true;
            if (strstr(line, "go")) going = true, start = nanoseconds();
            if (strstr(line, "finish")) going = finishing = true, quiet_since = nanoseconds();
        }
        if (receive_some()) quiet_since = nanoseconds();
        if (trace) fflush(trace);
        for (int i = 0; i < 16 && wants_to_send && sent < due; i++) {
            if (!transmit(ORDINARY, size ? size : sizeof(struct words) + sent * 37 % 200)) break;
            if (sent == total) say("sent all");
        }
        if (finishing && !last_word && !is_silent) last_word = transmit(FINAL, sizeof(struct words));
        if (finishing && (finals >= finals_wanted || nanoseconds() - quiet_since > patience_ms * 1000000)) break;
    }
    say("report {\"digest\": \"%016lx\", \"received\": %lu, \"sent\": %lu, \"senders\": %lu, \"gaps\": %lu, "
        "\"disorder\": %lu, \"invented\": %lu, \"dropped\": %lu, \"complete\": %s}",
        digest, received, sent, senders, gaps, disorder, invented, dropped, finals >= finals_wanted ? "true" : "false");
    return 0;
}
