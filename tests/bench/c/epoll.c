/* One thread, epoll, non-blocking: the limit that a stream server is compared with. `epoll pong|echo ADDRESS`

   pong answers +PONG to each line, echo sends back what came. */

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "listening.h"
#include "lines.h"

static int echoes;
static char buffer[262144];

/* Send all of it; only an echo of something large ever waits. Return 0 when the peer is gone. */
static int send_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd room = {fd, POLLOUT, 0};
            poll(&room, 1, -1);
        } else if (sent < 0) {
            return 0;
        } else {
            data += sent;
            size -= sent;
        }
    }
    return 1;
}

/* Answer what has come; return 0 when the conversation is over. */
static int answer(int fd)
{
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0)
        return errno == EAGAIN;
    if (got == 0)
        return 0;
    if (echoes)
        return send_all(fd, buffer, got);
    for (char *at = buffer; (at = memchr(at, '\n', buffer + got - at)); at++)
        if (!send_all(fd, PONG, PONG_SIZE))
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    echoes = !strcmp(argv[1], "echo");
    int listener = announce_bound(argv[2], SOCK_STREAM | SOCK_NONBLOCK), set = epoll_create1(0);
    struct epoll_event events[512], interest = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &interest);
    for (;;) {
        int ready = epoll_wait(set, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (!answer(fd))
                    close(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                interest.data.fd = fd;
                epoll_ctl(set, EPOLL_CTL_ADD, fd, &interest);
            }
        }
    }
}
