"""The agent: prompt, decoding protocols, action filter, and playing a whole split."""
