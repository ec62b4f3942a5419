"""A compiled student as a server: OpenAI's completions and the agent over HTTP, on the device, without torch."""
