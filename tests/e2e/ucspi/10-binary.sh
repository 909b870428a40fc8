#!/bin/sh
# Bytes that are no text, counted and sent back in hexadecimal.
od -An -v -tx1
