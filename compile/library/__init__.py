"""The compiled library: targets, the TVM build in a process of its own, toolchains for other machines."""
