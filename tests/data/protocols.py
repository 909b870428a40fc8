"""Just enough of two protocols for their own clients to be content; copied to where srvctl is started."""

import struct

from srvctl import DatagramRequestHandler, StreamRequestHandler


class Dns(DatagramRequestHandler):
    """Answer every question for an address with 192.0.2.7 (RFC 1035, 4.1)."""

    def handle(self):
        ident, _, questions = struct.unpack("!HHH", self.packet[:6])
        if questions != 1:
            return
        end = self.packet.index(b"\0", 12) + 5  # the name, its type and its class
        header = struct.pack("!HHHHHH", ident, 0x8580, 1, 1, 0, 0)
        answer = struct.pack("!HHHIH4B", 0xC00C, 1, 1, 60, 4, 192, 0, 2, 7)
        self.wfile.write(header + self.packet[12:end] + answer)


class Redis(StreamRequestHandler):
    """Answer PING, and refuse every other command, of whatever form."""

    def handle(self):
        for line in self.rfile:
            if line[:1] == b"*":
                line = b"".join(self.rfile.readline() for _ in range(2 * int(line[1:])))
            self.wfile.write(b"+PONG\r\n" if line.upper() == b"PING\r\n" else b"-ERR unknown command\r\n")
