#!/bin/sh
# SIGPIPE ends a writer whose reader has gone: nobody left it ignored.
yes | head -n 1
awk '/^Sig(Blk|Ign)/ { print $1, substr($2, 9) ~ /^[0-9a-f]*[0-7]?000$/ ? "default" : $2 }' /proc/$$/status
