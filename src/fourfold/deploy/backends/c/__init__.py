"""Networks as self-contained C."""
