#!/bin/sh
# The variables of a TCP connection, all of them and no others.
env | grep -E '^(PROTO|TCP)' | grep -v '^TCPLOCALHOST=' | sort
