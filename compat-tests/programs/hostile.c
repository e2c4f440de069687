// A member that does what no member should.
//
//   hostile flip SECONDS SEED   joins, sends, and then writes over every word of the memory that it
//                               shares with others, while it sends and tells the monitor nonsense
//   hostile probe               tries to change the memory that it may only read
//
// It finds that memory as anybody can: in /proc/self/maps.
#include "steps.h"
#include <sys/un.h>

struct mapping {
    unsigned long start, end;
    char access[8], name[200];
};
static struct mapping mappings[256];
static int found;

static void find_shared(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    found = 0;
    while (maps && fgets(line, sizeof line, maps) && found < 256) {
        struct mapping *m = &mappings[found];
        m->name[0] = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %199s", &m->start, &m->end, m->access, m->name) < 3) continue;
        if (m->access[3] == 's' && strncmp(m->name, "/memfd:", 7) == 0) found++;
    }
    if (maps) fclose(maps);
}

static uint64_t state = 1;
static uint64_t chance(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void *flip(void *unused) {
    for (uint64_t round = 0;; round++) {
        for (int i = 0; i < found; i++) {
            if (mappings[i].access[1] != 'w') continue;
            uint64_t *end = (uint64_t *)mappings[i].end;
            for (uint64_t *word = (uint64_t *)mappings[i].start; word < end; word++) {
                switch (round % 5) {
                case 0: *(volatile uint64_t *)word ^= 1ull << chance() % 64; break;
                case 1: *(volatile uint64_t *)word = ~*word; break;
                case 2: *(volatile uint64_t *)word = chance(); break;
                case 3: *(volatile uint64_t *)word += 1; break;
                case 4: *(volatile uint64_t *)word = chance() % 4 ? 0 : chance() % 70000; break;
                }
            }
        }
    }
    return NULL;
}

// Nonsense for the control socket: noise, and noise behind a beginning that was seen to be good.
static void *babble(void *unused) {
    struct sockaddr_un monitor = {.sun_family = AF_UNIX};
    strncpy(monitor.sun_path, setting("EXO_SOCKET", ""), sizeof monitor.sun_path - 1);
    static unsigned char bytes[70000], answer[70000];
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (connect(fd, SA(monitor), sizeof monitor) == 0) {
            for (uint64_t left = 1 + chance() % 20; left; left--) {
                size_t length = chance() % 3 ? chance() % 200 : chance() % sizeof bytes;
                for (size_t i = 0; i < length; i++) bytes[i] = chance();
                // Small integers in every width look like a version, a kind and a length.
                if (chance() % 2)
                    for (size_t i = 0; i < length && i < 32; i++) bytes[i] = i % 4 ? 0 : chance() % 12;
                if (chance() % 4 == 0 && length >= 8) memcpy(bytes, answer, 8);
                if (chance() % 4 == 0 && length > 4) memcpy(bytes, "{\"v\":1,", length < 7 ? length : 7);
                int some[3] = {open("/dev/null", O_RDWR), memfd_create("m", 0), dup(fd)};
                char space[CMSG_SPACE(sizeof some)] = {0};
                struct iovec part = {bytes, length};
                struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
                if (chance() % 3 == 0) {
                    message.msg_control = space;
                    message.msg_controllen = sizeof space;
                    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
                    *c = (struct cmsghdr){CMSG_LEN(sizeof some), SOL_SOCKET, SCM_RIGHTS};
                    memcpy(CMSG_DATA(c), some, sizeof some);
                }
                long sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
                for (int i = 0; i < 3; i++) close(some[i]);
                if (sent < 0) break;
                recv(fd, answer, sizeof answer, MSG_DONTWAIT);
            }
        }
        close(fd);
    }
    return NULL;
}

static int flips(int seconds) {
    int in = receiver(), out = sender();
    for (int i = 0; i < 3; i++) tell(out, "an ordinary beginning");
    for (int i = 0; i < 3; i++) hear("received", in);
    find_shared();
    int writable = 0;
    for (int i = 0; i < found; i++) writable += mappings[i].access[1] == 'w';
    say("shared mappings: %d writable, %d in all", writable, found);
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, flip, NULL);
    if (getenv("EXO_SOCKET")) pthread_create(&threads[1], NULL, babble, NULL);
    alarm(seconds);
    fcntl(in, F_SETFL, O_NONBLOCK);
    fcntl(out, F_SETFL, O_NONBLOCK);
    for (;;) {
        char text[2000], noise[60];
        for (size_t i = 0; i < sizeof noise; i++) noise[i] = chance(); // never what others sent
        tell_to(out, GROUP, PORT, noise, chance() % sizeof noise);
        recv(in, text, sizeof text, MSG_DONTWAIT);
        poll(NULL, 0, chance() % 2);
    }
}

// Every way to write to a mapping that was made for reading. Prints what worked.
static int probes(void) {
    int in = receiver(), out = sender(), tried = 0, changed = 0;
    tell(out, "an ordinary beginning");
    hear("received", in);
    find_shared();
    int memory = open("/proc/self/mem", O_RDWR);
#define BAD(what, ok)                                                                             \
    do {                                                                                          \
        tried++;                                                                                  \
        if (ok) changed++, say("CHANGED: %s of %s", what, m->name);                               \
    } while (0)
    for (int i = 0; i < found; i++) {
        struct mapping *m = &mappings[i];
        if (m->access[1] == 'w') continue;
        void *start = (void *)m->start;
        size_t length = m->end - m->start;
        uint64_t word = 0x6861636b6564;
        BAD("mprotect", mprotect(start, length, PROT_READ | PROT_WRITE) == 0);
        if (memory >= 0) BAD("write by /proc/self/mem", pwrite(memory, &word, 8, m->start) == 8);
        struct iovec from = {&word, 8}, to = {start, 8};
        BAD("process_vm_writev", process_vm_writev(getpid(), &from, 1, &to, 1, 0) == 8);
        BAD("madvise REMOVE", madvise(start, length, MADV_REMOVE) == 0);
        void *again = mremap(start, 0, length, MREMAP_MAYMOVE);
        if (again != MAP_FAILED) BAD("mprotect of a second mapping", mprotect(again, length, PROT_READ | PROT_WRITE) == 0);
        // Reopened through every name that /proc has for it.
        char path[128], name[256];
        for (int fd = -1; fd < 1024; fd++) {
            if (fd == -1) {
                snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", m->start, m->end);
            } else {
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                long got = readlink(path, name, sizeof name - 1);
                if (got < 0 || (name[got] = 0, strncmp(name, m->name, strlen(m->name)))) continue;
                BAD("write to its descriptor", pwrite(fd, &word, 8, 0) == 8);
                BAD("ftruncate of its descriptor", ftruncate(fd, 0) == 0);
                void *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                BAD("mmap of its descriptor", map != MAP_FAILED);
            }
            int reopened = open(path, O_RDWR);
            if (reopened < 0) continue;
            // A member's own mapping of a file that is shared for reading and writing elsewhere is
            // no log: a log is written by the monitor alone.
            BAD("write", pwrite(reopened, &word, 8, 0) == 8);
            BAD("mmap", mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, reopened, 0) != MAP_FAILED);
            BAD("ftruncate to nothing", ftruncate(reopened, 0) == 0);
            BAD("ftruncate to more", ftruncate(reopened, length * 2) == 0);
            BAD("punched hole", fallocate(reopened, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
            BAD("zeroed range", fallocate(reopened, FALLOC_FL_ZERO_RANGE, 0, 4096) == 0);
            close(reopened);
        }
    }
    say("tried: %s", tried ? "yes" : "nothing to try");
    say("changed: %d", changed);
    tell(out, "an ordinary end");
    hear("received", in);
    printf("end\n");
    return changed != 0;
}

int main(int count, char **words) {
    if (count > 3 && strcmp(words[1], "flip") == 0) {
        state = strtoul(words[3], NULL, 0) * 2 + 1;
        return flips(atoi(words[2]));
    }
    if (count > 1 && strcmp(words[1], "probe") == 0) return probes();
    return 2;
}
