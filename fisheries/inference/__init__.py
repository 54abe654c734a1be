"""After training: predictions, scores and submissions, each a table made from tables."""
