/* A client that checks: each request has an id, and nothing but the very same bytes is its answer.

   load keep      ADDRESS CONNECTIONS SIZE SECONDS   request after request on connections that are kept
   load each      ADDRESS CONNECTIONS SIZE SECONDS   a connection for each request
   load paced     ADDRESS RATE        SIZE SECONDS   a connection for each request, RATE a second, one after the other
   load datagrams ADDRESS WINDOW      SIZE SECONDS   WINDOW datagrams in flight

   A request is SIZE bytes: the id in hexadecimal digits, the low one first, repeated; a newline ends it on a stream.
   At the end one line: answered, wrong, missing, seconds, and the time from request (each, paced: from connect) to
   answer. The exit status is 1 when an answer was wrong or is missing. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

#include "listening.h"

#define SLOTS 4096     /* connections, or datagrams in flight, at most */
#define TIMES 4194304  /* latencies that are kept; later ones overwrite the first */
#define PATIENCE 5000  /* milliseconds without any answer until what is under way counts as missing */

struct slot {
    int fd, busy, connecting;
    uint64_t id;
    int64_t began;
    size_t got;
    char *answer;
};

static struct slot slots[SLOTS];
static struct sockaddr_storage server;
static socklen_t server_length;
static size_t size;
static int stream;
static uint64_t next_id = 1;
static long answered, wrong, missing;
static float *times;
static char *expected;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Write the request of `id` into `expected`. */
static void fill(uint64_t id)
{
    char digits[16];
    for (int i = 0; i < 16; i++)
        digits[i] = "0123456789abcdef"[id >> 4 * i & 15];
    for (size_t at = 0; at < size; at += 16)
        memcpy(expected + at, digits, size - at < 16 ? size - at : 16);
    if (stream)
        expected[size - 1] = '\n';
}

static void count(struct slot *slot, int right)
{
    slot->busy = 0;
    if (!right) {
        wrong++;
        return;
    }
    times[answered++ % TIMES] = (now() - slot->began) / 1000.0;
}

static void send_request(struct slot *slot)
{
    slot->id = next_id++;
    slot->got = 0;
    fill(slot->id);
    size_t sent = 0;
    while (sent < size) {
        ssize_t took = send(slot->fd, expected + sent, size - sent, MSG_NOSIGNAL);
        if (took < 0 && errno == EAGAIN) {
            struct pollfd room = {slot->fd, POLLOUT, 0};
            poll(&room, 1, 1000);
        } else if (took < 0) {
            return; /* the reading side sees why */
        } else {
            sent += took;
        }
    }
}

static int connected(int flags)
{
    int fd = socket(server.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        fail("socket");
    if (flags)
        fcntl(fd, F_SETFL, flags);
    if (connect(fd, (struct sockaddr *)&server, server_length) < 0 && errno != EINPROGRESS)
        fail("connect");
    return fd;
}

static void open_slot(int set, struct slot *slot)
{
    /* a unix socket connects at once, or not at all: it may wait */
    int nonblocking = server.ss_family == AF_UNIX ? 0 : O_NONBLOCK;
    slot->began = now();
    slot->busy = slot->connecting = 1;
    slot->fd = connected(nonblocking);
    if (!nonblocking)
        fcntl(slot->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event interest = {.events = EPOLLOUT, .data.ptr = slot};
    epoll_ctl(set, EPOLL_CTL_ADD, slot->fd, &interest);
}

/* Read what has come; return 0 while the answer is not complete. */
static int answer_is_complete(struct slot *slot)
{
    ssize_t got = recv(slot->fd, slot->answer + slot->got, size + 1 - slot->got, 0);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0) { /* the end, or a reset, where an answer was due */
        missing++;
        slot->busy = 0;
        return 1;
    }
    slot->got += got;
    if (slot->got < size)
        return 0;
    fill(slot->id);
    count(slot, slot->got == size && !memcmp(slot->answer, expected, size));
    return 1;
}

static void go_on(int set, struct slot *slot, int keeps, int last)
{
    if (keeps && !last) {
        slot->busy = 1;
        slot->began = now();
        send_request(slot);
        return;
    }
    close(slot->fd);
    if (!last)
        open_slot(set, slot);
}

static void run_connections(int connections, int keeps, int64_t end)
{
    int set = epoll_create1(0), open = connections;
    struct epoll_event events[512];
    for (int i = 0; i < connections; i++)
        open_slot(set, &slots[i]);
    while (open) {
        int ready = epoll_wait(set, events, 512, PATIENCE);
        if (ready == 0) {
            missing += open;
            return;
        }
        for (int i = 0; i < ready; i++) {
            struct slot *slot = events[i].data.ptr;
            if (slot->connecting) {
                struct epoll_event interest = {.events = EPOLLIN, .data.ptr = slot};
                slot->connecting = 0;
                epoll_ctl(set, EPOLL_CTL_MOD, slot->fd, &interest);
                send_request(slot);
                continue;
            }
            long missed = missing;
            if (!answer_is_complete(slot))
                continue;
            /* a connection that was to be kept and has ended is not opened again */
            int last = now() >= end || (keeps && missing != missed);
            open -= last;
            go_on(set, slot, keeps, last);
        }
    }
}

static void run_paced(int rate, int64_t end)
{
    int64_t due = now();
    struct slot *slot = &slots[0];
    struct timeval patience = {PATIENCE / 1000, 0};
    while (due < end) {
        struct timespec until = {due / 1000000000, due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        slot->began = now();
        slot->fd = connected(0);
        setsockopt(slot->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        send_request(slot);
        while (!answer_is_complete(slot))
            if (now() - slot->began > PATIENCE * 1000000LL) {
                missing++;
                break;
            }
        close(slot->fd);
        due += 1000000000 / rate;
    }
}

/* Send until `window` are in flight or the kernel takes no more; return how many are. */
static int send_datagrams(int fd, int window, int in_flight, int ids)
{
    while (in_flight < window) {
        struct slot *slot = &slots[next_id % ids];
        if (slot->busy) { /* an old one is still under way: its digits are taken */
            next_id++;
            continue;
        }
        fill(next_id);
        slot->began = now();
        if (send(fd, expected, size, 0) < 0)
            break;
        slot->busy = 1;
        slot->id = next_id++;
        in_flight++;
    }
    return in_flight;
}

static int take_datagram(int fd, char *answer, int ids)
{
    ssize_t got = recv(fd, answer, size + 1, 0);
    if (got < 0)
        return 0;
    uint64_t id = 0;
    for (int i = (int)(size < 3 ? size : 3) - 1; i >= 0 && i < got; i--)
        id = id << 4 | (answer[i] <= '9' ? answer[i] - '0' : answer[i] - 'a' + 10);
    struct slot *slot = &slots[id % ids];
    if (!slot->busy) {
        wrong++; /* nobody asked, or it came twice */
        return 0;
    }
    fill(slot->id);
    count(slot, (size_t)got == size && !memcmp(answer, expected, size));
    return 1;
}

static void run_datagrams(int window, int64_t end)
{
    int fd = socket(server.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0), in_flight = 0, space = 4 << 20;
    int ids = size == 1 ? 16 : size == 2 ? 256 : SLOTS; /* as many as the digits tell apart */
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    char *answer = malloc(size + 1);
    if (server.ss_family == AF_UNIX && bind(fd, (struct sockaddr *)&any, sizeof any.sun_family) < 0)
        fail("bind"); /* autobind, unix(7): an answer needs a name to go to */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &space, sizeof space);
    if (connect(fd, (struct sockaddr *)&server, server_length) < 0)
        fail("connect");
    for (;;) {
        if (now() < end)
            in_flight = send_datagrams(fd, window < ids / 2 ? window : ids / 2, in_flight, ids);
        else if (!in_flight)
            break;
        /* a full queue has no event of its own for a connected unix datagram socket that also waits to read */
        struct pollfd answers = {fd, POLLIN | (in_flight < window && now() < end ? POLLOUT : 0), 0};
        if (poll(&answers, 1, PATIENCE) == 0) {
            missing += in_flight;
            break;
        }
        while (in_flight && take_datagram(fd, answer, ids))
            in_flight--;
    }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: load keep|each|paced|datagrams ADDRESS N SIZE SECONDS\n");
        return 2;
    }
    int n = atoi(argv[3]);
    size = atoi(argv[4]);
    stream = strcmp(argv[1], "datagrams") != 0;
    server_length = read_address(argv[2], &server);
    times = malloc(TIMES * sizeof *times);
    expected = malloc(size + 16);
    if (n < 1 || n > SLOTS || size < 1 + (size_t)stream)
        return 2;
    for (int i = 0; stream && i < n; i++)
        slots[i].answer = malloc(size + 1);
    int64_t began = now(), end = began + (int64_t)(atof(argv[5]) * 1e9);
    if (!stream)
        run_datagrams(n, end);
    else if (!strcmp(argv[1], "paced"))
        run_paced(n, end);
    else
        run_connections(n, !strcmp(argv[1], "keep"), end);
    double seconds = (now() - began) / 1e9;
    long kept = answered < TIMES ? answered : TIMES;
    qsort(times, kept, sizeof *times, ascending);
    printf("answered=%ld wrong=%ld missing=%ld seconds=%.6f rate=%.1f p50_us=%.1f p99_us=%.1f\n", answered, wrong,
           missing, seconds, answered / seconds, kept ? times[kept / 2] : 0.0, kept ? times[kept * 99 / 100] : 0.0);
    return wrong || missing;
}
