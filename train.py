"""Train, score on held-out boats and write a submission; `python train.py --help` lists what can be chosen.

python train.py                                                          the embedded boats, on the CPU
python train.py data=ncfm data.root=DIR model=resnet50 trainer.gpus=1    the competition
"""

from fisheries.launch import train

if __name__ == "__main__":
    train()
