"""A method and a scorer for DetoxLM. Nothing is imported here: a list of scorers should not cost an import of torch."""
