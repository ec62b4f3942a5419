"""The contract of a world: its games, its engine, and how its texts are told. Nothing here knows any one world."""
