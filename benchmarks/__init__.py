"""autoinit beside its rivals: each file measures one thing, with what it is compared to in the same run."""
