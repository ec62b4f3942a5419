"""The parity gate: a bundle computes and chooses what transformers does, or it is not written."""
