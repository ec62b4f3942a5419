"""Compilers, linkers and inspection of what they made, for the devices that this machine does not have."""
