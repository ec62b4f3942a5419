"""Writers of memories that are models: what they are asked, how their answers are read, and what is taken of them."""
