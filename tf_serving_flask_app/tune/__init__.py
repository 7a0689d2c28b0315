"""Finds the settings with which a model is served best on this machine, by serving it with each and measuring that."""
