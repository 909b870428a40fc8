/* recvfrom and sendto in a loop: the limit that a datagram server is compared with. `udp dns|echo ADDRESS`

   dns sets the answer bit (QR) in the header, echo sends back what came. */

#include "listening.h"

int main(int argc, char **argv)
{
    static unsigned char packet[65536];
    if (argc != 3)
        return 2;
    int answers = !strcmp(argv[1], "dns"), fd = announce_bound(argv[2], SOCK_DGRAM);
    for (;;) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        ssize_t got = recvfrom(fd, packet, sizeof packet, 0, (struct sockaddr *)&peer, &length);
        if (got < 0)
            continue;
        if (answers && got > 2)
            packet[2] |= 0x80;
        sendto(fd, packet, got, 0, (struct sockaddr *)&peer, length);
    }
}
