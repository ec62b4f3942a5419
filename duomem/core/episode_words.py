"""Words that the engine and the records of what was played share.

Nothing is imported: the wheel alfworld-lite takes this file too.
"""

DEFAULT_WORLD = "alfworld"
"""The world of episodes and packs that name none."""
TEMPLATE = "template"
"""The source of a goal sentence that the game file itself holds; a person's is "human:N", one's own is "own"."""
NOTHING_HAPPENS = "Nothing happens."
"""The observation after a command that did nothing."""
