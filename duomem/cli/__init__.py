"""The `duomem` command: one thin file per group of verbs, every heavy import inside the command."""
