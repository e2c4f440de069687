// io_uring by its system calls: what a ring receives goes past every library.
#include "steps.h"
#include <linux/io_uring.h>

struct ring {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *done;
};

// False, with the reason, where the kernel allows no rings.
static bool make_ring(struct ring *ring) {
    struct io_uring_params p = {0};
    ring->fd = syscall(SYS_io_uring_setup, 8, &p);
    if (ring->fd < 0) {
        say("skipped, io_uring_setup says: %s", strerrorname_np(errno));
        return false;
    }
    int access = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE;
    size_t sq_len = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq_len = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, sq_len, access, how, ring->fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_len, access, how, ring->fd, IORING_OFF_CQ_RING);
    size_t entries_len = p.sq_entries * sizeof(struct io_uring_sqe);
    ring->entries = mmap(NULL, entries_len, access, how, ring->fd, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || ring->entries == MAP_FAILED) {
        say("the ring cannot be mapped: %s", strerrorname_np(errno));
        return false;
    }
    ring->sq_tail = (unsigned *)(sq + p.sq_off.tail);
    ring->sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    ring->sq_array = (unsigned *)(sq + p.sq_off.array);
    ring->cq_head = (unsigned *)(cq + p.cq_off.head);
    ring->cq_tail = (unsigned *)(cq + p.cq_off.tail);
    ring->cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    ring->done = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    return true;
}

static void submit(struct ring *ring, struct io_uring_sqe entry) {
    unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
    ring->entries[index] = entry;
    ring->sq_array[index] = index;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    MUST(syscall(SYS_io_uring_enter, ring->fd, 1, 0, 0, NULL, 0));
}
static int finish(struct ring *ring) { // the result of the next that is done
    unsigned head = *ring->cq_head;
    if (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == head)
        MUST(syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
    int result = ring->done[head & *ring->cq_mask].res;
    __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
    return result;
}

static void hear_by_ring(struct ring *ring, int in) {
    char text[64] = {0};
    submit(ring, (struct io_uring_sqe){
                     .opcode = IORING_OP_RECV, .fd = in, .addr = (uintptr_t)text, .len = sizeof text - 1});
    int length = finish(ring);
    say("by the ring: %d %s", length, text);
}

static void plainly(void) { // where there are no rings
    int in = receiver(), out = sender();
    MUST(tell(out, "without a ring"));
    hear("received", in);
}

static void ring_after_join(void) { // what is queued when the ring is made is not lost
    int in = receiver(), out = sender();
    struct ring ring;
    MUST(tell(out, "queued"));
    await_in(in);
    if (!make_ring(&ring)) return plainly();
    hear_by_ring(&ring, in);
    for (int i = 0; i < 5; i++) {
        char text[16];
        MUST(tell_to(out, GROUP, PORT, text, snprintf(text, sizeof text, "number %d", i)));
    }
    for (int i = 0; i < 5; i++) hear_by_ring(&ring, in);
    MUST(tell(out, "plain"));
    hear("received", in);
}

static void ring_before_join(void) {
    struct ring ring;
    if (!make_ring(&ring)) return plainly();
    int in = receiver(), out = sender();
    MUST(tell(out, "one"));
    hear_by_ring(&ring, in);
    MUST(tell(out, "two"));
    hear_by_ring(&ring, in);
    MUST(tell(out, "plain"));
    hear("received", in);
}

static void ring_waits(void) { // the ring is asked before anything was sent
    int in = receiver(), out = sender();
    struct ring ring;
    if (!make_ring(&ring)) return plainly();
    char texts[3][16] = {0};
    for (int i = 0; i < 3; i++)
        submit(&ring, (struct io_uring_sqe){
                          .opcode = IORING_OP_RECV, .fd = in, .addr = (uintptr_t)texts[i], .len = 15});
    for (int i = 0; i < 3; i++) {
        char text[16];
        MUST(tell_to(out, GROUP, PORT, text, snprintf(text, sizeof text, "number %d", i)));
        say("length: %d", finish(&ring));
    }
    for (int i = 0; i < 3; i++) say("text: %s", texts[i]);
}

static void ring_sees_sources(void) {
    int in = receiver(), out = named_sender(4001);
    struct ring ring;
    if (!make_ring(&ring)) return plainly();
    MUST(tell(out, "by the ring"));
    char text[64] = {0}, from[32] = "?";
    struct sockaddr_in a = {0};
    struct iovec part = {text, sizeof text - 1};
    struct msghdr message = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &part, .msg_iovlen = 1};
    submit(&ring,
           (struct io_uring_sqe){.opcode = IORING_OP_RECVMSG, .fd = in, .addr = (uintptr_t)&message, .len = 1});
    STEP("received", finish(&ring));
    inet_ntop(AF_INET, &a.sin_addr, from, sizeof from);
    say("%s: from %s port %d", text, from, ntohs(a.sin_port));
}

MAIN(CASE(ring_after_join), CASE(ring_before_join), CASE(ring_waits), CASE(ring_sees_sources))
