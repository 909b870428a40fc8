"""The handlers that are measured: bodies once, on srvctl's bases in `ours` and on the standard library's in `standard`.

Two modules, so that neither side pays for importing the other.
"""
