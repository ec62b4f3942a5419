"""Students and targets as data: TOML files, read through importlib.resources."""
