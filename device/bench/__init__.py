"""`duomem bench`: how fast a bundle is on this machine, and how close that is to what the machine can do."""
