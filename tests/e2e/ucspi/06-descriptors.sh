#!/bin/sh
# Standard input and output are the same socket, and it blocks.
input=$(readlink /proc/self/fd/0)
test "$input" = "$(readlink /proc/$$/fd/1)" && echo same
case $input in socket:*) echo socket ;; esac
flags=$(sed -n 's/^flags:[[:space:]]*//p' /proc/$$/fdinfo/0)
test $(( 0$flags & 04000 )) = 0 && echo blocking
