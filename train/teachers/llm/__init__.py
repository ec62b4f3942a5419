"""A language model as teacher: asked for every command in its chat format, whoever serves it."""
