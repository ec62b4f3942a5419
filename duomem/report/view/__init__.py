"""`duomem view`: one or two runs as one HTML page that opens from disk, to look at every step that was played."""
