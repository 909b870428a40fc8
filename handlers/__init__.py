"""Ready-made handlers: one module, or one package, each. Installed as `srvctl.handlers`; shared code is in `shared`."""
