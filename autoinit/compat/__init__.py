"""The names of other libraries, so that a codebase moves by changing an import line."""
