"""What the controller remembers: one database, one writer, every change a transaction."""
