#!/bin/sh
# Fails after it has answered.
echo partial
exit 3
