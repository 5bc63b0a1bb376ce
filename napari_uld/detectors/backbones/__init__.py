"""Networks that make features of single images."""
