#!/bin/sh
# SIGPIPE ends a writer whose reader has gone: nobody left it ignored. awk looks at itself, which has inherited it all:
# the shell blocks signals while it starts a program.
yes | head -n 1
awk '/^Sig(Blk|Ign)/ { print $1, substr($2, 9) ~ /^[0-9a-f]*[0-7]?000$/ ? "default" : $2 }' /proc/self/status
