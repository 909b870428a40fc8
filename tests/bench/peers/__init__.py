"""The servers that srvctl is compared with, each a script that says ``ready`` on standard output when it is bound."""

BACKLOG = 1024
"""The same queue for every server: with the standard library's 5 a client would measure lost SYNs (1 s each)."""


def announce() -> None:
    """Tell whoever started this script that a client can come."""
    print("ready", flush=True)


def host_and_port(address: str) -> tuple[str, int]:
    """Return the two parts of ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    return host, int(port)
