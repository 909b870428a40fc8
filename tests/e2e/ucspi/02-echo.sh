#!/bin/sh
# Everything that comes, until the client shuts down its writing side.
exec cat
