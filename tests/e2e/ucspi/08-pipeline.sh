#!/bin/sh
# A pipeline of programs reads and writes the connection.
tr a-z A-Z | sed 's/^/> /' | sort
