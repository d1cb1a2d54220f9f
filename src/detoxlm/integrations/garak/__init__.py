"""A detector for garak, and garak with that detector: `python -m detoxlm.integrations.garak`."""
