"""How often `verify` is wrong: about models that are right, and about models that are not."""
