"""Other runtimes' formats: mlc-llm folders, GGUF, and llama.cpp as a variant of the benchmark."""
