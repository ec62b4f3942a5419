"""What this machine has, and what each target still needs here."""
