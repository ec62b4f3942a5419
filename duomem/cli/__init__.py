"""The `duomem` command: one file per command group, every heavy import inside the command."""
