"""Lives in which what always goes together comes apart, while the world answers every step as it would."""
