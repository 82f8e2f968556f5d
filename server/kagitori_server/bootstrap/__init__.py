"""What a server makes for itself at its first start."""
