/* An address in text, HOST:PORT or /path, as a socket: bound, or connected. Nothing here serves or asks. */

#ifndef LISTENING_H
#define LISTENING_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Read `text` into `address`; return its length. */
static socklen_t read_address(const char *text, struct sockaddr_storage *address)
{
    memset(address, 0, sizeof *address);
    if (*text == '/') {
        struct sockaddr_un *path = (struct sockaddr_un *)address;
        path->sun_family = AF_UNIX;
        strncpy(path->sun_path, text, sizeof path->sun_path - 1);
        return sizeof *path;
    }
    struct sockaddr_in *inet = (struct sockaddr_in *)address;
    const char *colon = strrchr(text, ':');
    char host[64] = "";
    if (!colon || colon - text >= (long)sizeof host) {
        fprintf(stderr, "expected HOST:PORT or /path, not %s\n", text);
        exit(2);
    }
    memcpy(host, text, colon - text);
    inet->sin_family = AF_INET;
    inet->sin_port = htons(atoi(colon + 1));
    if (inet_pton(AF_INET, host, &inet->sin_addr) != 1)
        fail(host);
    return sizeof *inet;
}

/* Bind and, for a stream, listen; say so on standard output, which is what whoever started us waits for. */
static inline int announce_bound(const char *text, int type)
{
    struct sockaddr_storage address;
    socklen_t length = read_address(text, &address);
    int one = 1, fd = socket(address.ss_family, type, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0)
        fail(text);
    if ((type & SOCK_STREAM) == SOCK_STREAM && listen(fd, 1024) < 0)
        fail(text);
    puts("ready");
    fflush(stdout);
    return fd;
}

#endif
