"""`python -m fisheries`: the entry of train.py, for an installed package."""

from fisheries.launch import train

if __name__ == "__main__":
    train()
