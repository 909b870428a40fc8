/* A fork for each connection and no exec: what --fork could cost at least. `forking ADDRESS` */

#include <signal.h>

#include "listening.h"
#include "lines.h"

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int listener = announce_bound(argv[1], SOCK_STREAM);
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (fork() == 0) {
            close(listener);
            answer_lines(fd, fd);
            _exit(0);
        }
        close(fd);
    }
}
