"""Ready-made handlers, each a complete example; installed as `srvctl.handlers`."""
