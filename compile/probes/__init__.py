"""The recorded ALFWorld steps of the parity gate, steps.jsonl: written by scripts/record_probes.py."""
