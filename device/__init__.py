"""What runs on the phone, Jetson or laptop: world, prompt, engine, agent.

Never imports torch, transformers or the TVM compiler; above it stands nothing but memory_packs.
"""
