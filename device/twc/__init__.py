"""TextWorld Commonsense, tidying up, as TextWorldExpress plays it. Needs the extra `twc`; Java comes with it."""
