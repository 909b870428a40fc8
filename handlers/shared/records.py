"""The size of a record: what one recv() from a sequenced-packet socket must have room for."""

from __future__ import annotations

# recv() returns one record and drops the bytes that do not fit. A sender cannot exceed its send buffer, 208 KiB by
# default: net.core.wmem_default, socket(7).
MAX_RECORD_BYTES = 256 * 1024
