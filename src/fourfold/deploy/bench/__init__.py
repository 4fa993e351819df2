"""A network's speed beside that of other runtimes."""
