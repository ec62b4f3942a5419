"""An episode as a person sees it: while it is played, while they play it themselves, and again from its record."""
