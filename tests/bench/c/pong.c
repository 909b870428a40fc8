/* The program that tcpserver, socat, systemd-socket-activate and `srvctl ... -- ./pong` execute: one conversation. */

#include "lines.h"

int main(void)
{
    answer_lines(0, 1);
    return 0;
}
