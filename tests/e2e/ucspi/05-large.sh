#!/bin/sh
# A large answer to a client that has shut down its writing side.
cat > /dev/null
yes 'a line of the answer' | head -n 50000
