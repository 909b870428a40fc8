"""Options of other servers: how srvctl does the same, or that it does not.

People bring them from gunicorn, uvicorn, tcpserver and netcat. An option that srvctl has is not in the table.
"""

from __future__ import annotations

_ADDRESS = "the address is an argument: srvctl tcp 127.0.0.1:9000"
_HOST = "the host is part of the address: srvctl tcp 127.0.0.1:9000"
_PORT = "the port is part of the address: srvctl tcp :9000"
_UNIX = "unix is a family: srvctl unix /run/app.sock"
_USER = "srvctl keeps the user that starts it; a service has its own by srvctl unit --user, or use setpriv(1)"
_RELOAD = "srvctl does not watch files; after a change, send it SIGHUP, which reloads the handler"
_DAEMON = "srvctl stays in the foreground; a service manager runs it in the background (see: srvctl unit)"
_CONFIG = "srvctl has no configuration file; each option has an environment variable (see: srvctl tcp --help)"
_PID = "srvctl writes no PID file; it stays in the foreground, so a service manager or a shell knows its PID"
_TLS = "srvctl has no TLS; run a TLS proxy such as stunnel or nginx in front of it"
_IDLE = "srvctl knows no HTTP; --idle-timeout closes an idle connection"
_MODEL = "the concurrency models are --sync, --threads and --fork"
_ASYNC = "srvctl has no asyncio model; a handler may call asyncio.run(), with --threads or --fork"
_LEVEL = "the levels are --verbose and --quiet"
_LOG_FILE = "the log goes to standard error; a shell redirects it: 2> FILE"
_SYSLOG = "the log goes to standard error; logger(1) or a service manager sends it to syslog"
_PROGRAM = "a program stands after --: srvctl tcp :9000 -- PROGRAM"
_RULES = "srvctl has no access rules; a class with verify_request can refuse clients (see: srvctl help --mixin)"
_PATH = "set the environment variable PYTHONPATH; the current directory is searched without it"
_CHECK = "check is a command: srvctl check tcp :9000"

FOREIGN_OPTIONS = {
    "--access-log": _LOG_FILE,
    "--access-logfile": _LOG_FILE,
    "--allow": _RULES,
    "--app-dir": _PATH,
    "--async": _ASYNC,
    "--bind": _ADDRESS,
    "--ca-certs": _TLS,
    "--cert": _TLS,
    "--certfile": _TLS,
    "--check": _CHECK,
    "--check-config": _CHECK,
    "--config": _CONFIG,
    "--daemon": _DAEMON,
    "--daemonize": _DAEMON,
    "--debug": _LEVEL,
    "--deny": _RULES,
    "--error-logfile": _LOG_FILE,
    "--exec": _PROGRAM,
    "--fd": "fd is a family: srvctl fd 3",
    "--gid": _USER,
    "--group": _USER,
    "--host": _HOST,
    "--interface": _HOST,
    "--keep-alive": _IDLE,
    "--key": _TLS,
    "--keyfile": _TLS,
    "--limit-concurrency": "it is called --max-connections here",
    "--limit-max-requests": "it is called --max-requests here",
    "--listen": _ADDRESS,
    "--log-file": _LOG_FILE,
    "--log-level": _LEVEL,
    "--max-clients": "it is called --max-connections here",
    "--pid": _PID,
    "--pid-file": _PID,
    "--pidfile": _PID,
    "--port": _PORT,
    "--preload": "each worker imports the handler itself, so that a reload takes the code as it is then",
    "--processes": "it is called --workers here; --fork serves each request in a process of its own",
    "--pythonpath": _PATH,
    "--reload": _RELOAD,
    "--reuse-port": "all workers accept from one socket, so SO_REUSEPORT is not needed",
    "--ssl": _TLS,
    "--ssl-certfile": _TLS,
    "--ssl-keyfile": _TLS,
    "--syslog": _SYSLOG,
    "--timeout-graceful-shutdown": "it is called --graceful-timeout here",
    "--timeout-keep-alive": _IDLE,
    "--tls": _TLS,
    "--tls-cert": _TLS,
    "--tls-key": _TLS,
    "--uds": _UNIX,
    "--uid": _USER,
    "--unix-socket": _UNIX,
    "--user": _USER,
    "--worker-class": _MODEL,
    "--worker-connections": "it is called --max-connections here",
    "-D": _DAEMON,
    "-b": _ADDRESS,
    "-c": _CONFIG,
    "-d": _DAEMON,
    "-e": _PROGRAM,
    "-g": _USER,
    "-k": _MODEL,
    "-l": _ADDRESS,
    "-p": _PORT,
    "-u": _USER,
    "-w": "it is called --workers here",
}
