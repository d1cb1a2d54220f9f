"""Calibration models: the small models that fusion adds to a target at decoding time."""
