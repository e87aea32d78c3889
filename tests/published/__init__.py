"""Configs of the initialization that the source code of libraries states; their weights are verified against it."""
