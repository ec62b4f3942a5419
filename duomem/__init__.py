"""duomem: memory agents on edge devices, an open implementation of DuoMem (arXiv 2606.29961)."""
