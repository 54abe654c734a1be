"""Tell the species of fish in photographs from fishing boats, with a score that holds on boats never seen."""
