"""From a folder of photographs to tables, and from tables to batches."""
