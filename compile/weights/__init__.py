"""A checkpoint's weights: read, rounded to a scheme, written in MLC's layout."""
