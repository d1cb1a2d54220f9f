"""Control by a learned constraint: an auxiliary model says which tokens keep a promise (NADO, arXiv 2205.14219)."""
