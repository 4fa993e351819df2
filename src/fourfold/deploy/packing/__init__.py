"""The former home of `fourfold.deploy.artifact`, for scripts that import from here."""
