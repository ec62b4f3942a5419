"""Bringing a bundle to a device: over ssh or adb, only what changed, switched in one step, with a way back.

Runs on the host. The device needs a POSIX sh with sha256sum and the usual file tools, nothing of duomem.
"""
