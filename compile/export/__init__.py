"""Other runtimes' formats: mlc-llm folders, GGUF, and llama.cpp as a baseline of the benchmark."""
