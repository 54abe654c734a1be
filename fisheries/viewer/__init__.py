"""A local page to look through photographs, and to correct boats and labels."""
