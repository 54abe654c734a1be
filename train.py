"""Train on the embedded boats: `python train.py`; on the competition: `python train.py data=ncfm data.root=DIR`."""
