"""Mutation testing: one thing of the package wrong at a time, and whether a test says so."""
