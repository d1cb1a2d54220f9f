"""Editing weights: what a model's layers say about toxicity, and how to take it out of its matrices."""
