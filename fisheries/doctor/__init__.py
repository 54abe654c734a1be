"""What a run is bound by, measured with the pieces that it is made of, and what to change."""
