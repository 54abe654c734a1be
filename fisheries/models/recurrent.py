"""Recurrent networks: lesson 7's character model and the gates of a GRU by hand, and a GRU that reads any sequence.

By hand means NumPy, forward and backward. Arrays are time first, (T, N, ...), the order in which a loop over time reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


class CharacterWeights(NamedTuple):
    """Weights of a character model with V characters and H hidden units, or their gradients."""

    w_x: Floats  # (V, H) character to hidden
    w_h: Floats  # (H, H) hidden to hidden
    b_h: Floats  # (H,)
    w_y: Floats  # (H, V) hidden to the next character
    b_y: Floats  # (V,)


class GRUWeights(NamedTuple):
    """Weights of a GRU as torch keeps them: reset gate, update gate and candidate, one below the other."""

    weight_ih: Floats  # (3H, I)
    weight_hh: Floats  # (3H, H)
    bias_ih: Floats  # (3H,)
    bias_hh: Floats  # (3H,)


# Each with its derivative, told from what the function returned.
ACTIVATIONS: Mapping[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda x: np.maximum(x, 0), np.sign),
}


def init_characters(
    characters: int, *, hidden: int, activation: str = "tanh", dtype: type[np.floating] = np.float64, seed: int = 0
) -> CharacterWeights:
    """Draw the weights to start from.

    Args:
        characters: how many there are (V).
        hidden: units (H).
        activation: "tanh", or "relu" as in the lesson, where the hidden units at first copy themselves (Le et al. 2015,
            arXiv:1504.00941).
        dtype: of the weights, and of all that follows from them.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    w_x = rng.normal(0, np.sqrt(2 / characters), (characters, hidden))
    w_h = np.eye(hidden) if activation == "relu" else rng.normal(0, np.sqrt(1 / hidden), (hidden, hidden))
    w_y = rng.normal(0, np.sqrt(2 / hidden), (hidden, characters))
    weights = (w_x, w_h, np.zeros(hidden), w_y, np.zeros(characters))
    return CharacterWeights(*(weight.astype(dtype) for weight in weights))


def forward(
    weights: CharacterWeights, codes: Ints, state: Floats | None = None, *, activation: str = "tanh"
) -> tuple[Floats, Floats]:
    """Read characters one after the other.

    Args:
        weights: of the model.
        codes: (T, N) numbers of characters.
        state: (N, H) hidden units before the first; zeros by default.
        activation: one of `ACTIVATIONS`.

    Returns:
        Hidden units (T + 1, N, H), of which [0] is the state, and the logits (T, N, V) of each next character.
    """
    activate, _ = ACTIVATIONS[activation]
    steps, count = codes.shape
    hidden = np.zeros((steps + 1, count, len(weights.b_h)), weights.w_h.dtype)
    if state is not None:
        hidden[0] = state
    for t in range(steps):
        # a row of w_x is what a one-hot character times w_x gives
        hidden[t + 1] = activate(weights.w_x[codes[t]] + hidden[t] @ weights.w_h + weights.b_h)  # (N, H)
    return hidden, hidden[1:] @ weights.w_y + weights.b_y


def softmax(logits: Floats) -> Floats:
    """Return probabilities over the last axis."""
    return np.exp(_log_softmax(logits))


def _log_softmax(logits: Floats) -> Floats:
    below = logits - logits.max(axis=-1, keepdims=True)  # at most 0: nothing overflows, and not all vanish
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


def cross_entropy(logits: Floats, targets: Ints) -> tuple[float, Floats]:
    """Return the mean cross-entropy of logits (T, N, V) and characters (T, N), in nats, and its gradient (T, N, V)."""
    log_probabilities = _log_softmax(logits)
    own = np.take_along_axis(log_probabilities, targets[..., None], axis=-1)  # (T, N, 1)
    gradient = np.exp(log_probabilities)
    np.put_along_axis(gradient, targets[..., None], np.exp(own) - 1, axis=-1)
    return float(-own.mean()), gradient / targets.size


def backward(
    weights: CharacterWeights, codes: Ints, hidden: Floats, d_logits: Floats, *, activation: str = "tanh"
) -> tuple[CharacterWeights, Floats]:
    """Back-propagate through time.

    Args:
        weights: as given to `forward`.
        codes: likewise.
        hidden: as it returned them.
        d_logits: (T, N, V) gradient of the loss.
        activation: as given to `forward`.

    Returns:
        The gradients of all weights, and those of the characters as one-hot vectors (T, N, V).
    """
    _, derivative = ACTIVATIONS[activation]
    d_before = np.empty_like(hidden[1:])  # (T, N, H) before the activation
    later = np.zeros_like(hidden[0])  # (N, H) what steps after this one say of its hidden units
    for t in reversed(range(len(codes))):
        d_hidden = d_logits[t] @ weights.w_y.T + later
        d_before[t] = d_hidden * derivative(hidden[t + 1])
        later = d_before[t] @ weights.w_h.T
    d_w_x = np.zeros_like(weights.w_x)
    np.add.at(d_w_x, codes, d_before)
    d_w_h = np.einsum("tnh,tnk->hk", hidden[:-1], d_before, optimize=True)
    d_w_y = np.einsum("tnh,tnv->hv", hidden[1:], d_logits, optimize=True)
    gradients = CharacterWeights(d_w_x, d_w_h, d_before.sum(axis=(0, 1)), d_w_y, d_logits.sum(axis=(0, 1)))
    return gradients, d_before @ weights.w_x.T


def rmsprop_step(
    weights: CharacterWeights, gradients: CharacterWeights, squares: CharacterWeights, *, lr: float, decay: float = 0.9
) -> tuple[CharacterWeights, CharacterWeights]:
    """Return the weights after a step of RMSprop, and the moving mean of the squared gradients, at first zeros."""
    squares = CharacterWeights(*(decay * s + (1 - decay) * g**2 for s, g in zip(squares, gradients, strict=True)))
    moved = (w - lr * g / (np.sqrt(s) + 1e-8) for w, g, s in zip(weights, gradients, squares, strict=True))
    return CharacterWeights(*moved), squares


def fit_characters(
    weights: CharacterWeights,
    codes: Ints,
    *,
    steps: int,
    length: int = 32,
    batch_size: int = 32,
    lr: float = 1e-3,
    activation: str = "tanh",
    keep: Collection[int] = (),
    seed: int = 0,
) -> tuple[list[float], dict[int, CharacterWeights]]:
    """Learn to tell a text's next character, from pieces that start anywhere in it.

    Args:
        weights: to start from.
        codes: (M,) numbers of the text's characters, more than `length`.
        steps: of RMSprop.
        length: characters of a piece (T); no gradient reaches further back.
        batch_size: pieces in a step (N).
        lr: learning rate.
        activation: one of `ACTIVATIONS`.
        keep: numbers of steps after which to keep the weights; 0 are those at the start.
        seed: of the pieces.

    Returns:
        The loss before each step, in nats a character, and the weights kept, those after the last step among them.
    """
    rng = np.random.default_rng(seed)
    squares = CharacterWeights(*(np.zeros_like(weight) for weight in weights))
    losses, kept = [], {0: weights} if 0 in keep else {}
    for step in range(1, steps + 1):
        starts = rng.integers(len(codes) - length, size=batch_size)
        piece = codes[starts + np.arange(length + 1)[:, None]]  # (T + 1, N)
        hidden, logits = forward(weights, piece[:-1], activation=activation)
        loss, d_logits = cross_entropy(logits, piece[1:])
        gradients, _ = backward(weights, piece[:-1], hidden, d_logits, activation=activation)
        weights, squares = rmsprop_step(weights, gradients, squares, lr=lr)
        losses.append(loss)
        if step in keep or step == steps:
            kept[step] = weights
    return losses, kept


def generate(weights: CharacterWeights, start: Ints, *, length: int, activation: str = "tanh", seed: int = 0) -> Ints:
    """Read the characters `start` (S,), and draw further ones, each read before the next: (S + length,) in all."""
    rng = np.random.default_rng(seed)
    codes = [int(code) for code in start]
    hidden, logits = forward(weights, np.array(codes)[:, None], activation=activation)
    for _ in range(length):
        codes.append(int(rng.choice(len(weights.b_y), p=softmax(logits[-1, 0]))))
        hidden, logits = forward(weights, np.array([codes[-1:]]), hidden[-1], activation=activation)
    return np.array(codes)


def gru_forward(weights: GRUWeights, inputs: Floats) -> tuple[Floats, Floats, Floats]:
    """Read inputs (T, N, I) one after the other, as torch.nn.GRU does (Cho et al. 2014, arXiv:1406.1078).

    The lesson and the paper reset the hidden units before they go through their matrix, torch after it.

    Returns:
        Hidden units after each step, and how far the reset and update gates were open, all (T, N, H). An update gate
        at 1 keeps a unit as it was, a reset gate at 0 hides the past from the candidate.
    """
    hidden = np.zeros((inputs.shape[1], weights.weight_hh.shape[1]), inputs.dtype)  # (N, H)
    steps = []
    for x in inputs:
        from_input = np.split(x @ weights.weight_ih.T + weights.bias_ih, 3, axis=1)  # 3 of (N, H)
        from_hidden = np.split(hidden @ weights.weight_hh.T + weights.bias_hh, 3, axis=1)
        reset, update = (_sigmoid(from_input[gate] + from_hidden[gate]) for gate in (0, 1))
        candidate = np.tanh(from_input[2] + reset * from_hidden[2])
        hidden = update * hidden + (1 - update) * candidate
        steps.append((hidden, reset, update))
    outputs, resets, updates = (np.stack(values) for values in zip(*steps, strict=True))
    return outputs, resets, updates


def _sigmoid(x: Floats) -> Floats:
    return (1 + np.tanh(x / 2)) / 2  # exp(-x) would overflow far below 0


class SequenceGRU(nn.Module):
    """A GRU and a linear layer on each of its steps: characters of a text, or frames of a burst.

    Args:
        inputs: width of a step (I).
        hidden: units in each direction (H).
        classes: how many there are (C).
        dropout: of the inputs, and of the hidden units before the last layer.
        bidirectional: whether a second GRU reads from the end, so that each step knows all others.
    """

    def __init__(
        self, inputs: int, *, hidden: int, classes: int, dropout: float = 0.0, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(inputs, hidden, batch_first=True, bidirectional=bidirectional)
        self.classifier = nn.Linear(hidden * (1 + bidirectional), classes)

    def forward(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Map sequences (N, T, I), of which the first `lengths` (N,) steps count, to logits (N, T, C)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(sequences), lengths, batch_first=True, enforce_sorted=False
        )
        hidden, _ = nn.utils.rnn.pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=sequences.shape[1]
        )
        return self.classifier(self.dropout(hidden))


def last_step_gradient(net: SequenceGRU, sequences: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient (N, T, I) that the loss at the last step has at each step's input.

    Args:
        net: to look at.
        sequences: (N, T, I).
        targets: (N,) classes at the last step.
    """
    inputs = sequences.detach().clone().requires_grad_()
    logits = net(inputs, torch.full((len(inputs),), inputs.shape[1]))  # (N, T, C)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits[:, -1], targets), inputs)
    return gradient
