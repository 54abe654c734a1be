"""What happens while a network learns: losses, metrics, the Lightning module, callbacks."""
