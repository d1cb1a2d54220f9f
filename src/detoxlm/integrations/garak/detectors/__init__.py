"""A folder of modules for the path of the package `garak.detectors`."""
