/* One conversation over blocking descriptors: +PONG for each line, until the peer has sent its last byte. */

#ifndef LINES_H
#define LINES_H

#include <string.h>
#include <unistd.h>

#define PONG "+PONG\r\n"
#define PONG_SIZE (sizeof PONG - 1)

static inline void answer_lines(int in, int out)
{
    char buffer[65536];
    ssize_t got;
    while ((got = read(in, buffer, sizeof buffer)) > 0)
        for (char *at = buffer; (at = memchr(at, '\n', buffer + got - at)); at++)
            if (write(out, PONG, PONG_SIZE) != PONG_SIZE)
                return;
}

#endif
