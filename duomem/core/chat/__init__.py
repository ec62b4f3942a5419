"""Chat models as teachers and writers ask them: one contract, whoever answers."""
