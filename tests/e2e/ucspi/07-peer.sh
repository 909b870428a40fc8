#!/bin/sh
# Access by address, as scripts for tcpserver do it.
case $TCPREMOTEIP in
    127.*) echo "welcome, $TCPREMOTEIP" ;;
    *) echo "go away" ;;
esac
