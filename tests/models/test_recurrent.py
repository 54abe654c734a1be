from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from fisheries.models.recurrent import (
    ACTIVATIONS,
    CharacterWeights,
    GRUWeights,
    SequenceGRU,
    backward,
    cross_entropy,
    fit_characters,
    forward,
    generate,
    gru_forward,
    init_characters,
    last_step_gradient,
    rmsprop_step,
    softmax,
)

TORCH = {"tanh": torch.tanh, "relu": torch.relu}
small = st.integers(1, 5)


def drawn_weights(characters: int, hidden: int, seed: int) -> CharacterWeights:
    """Weights of which none is 0, as biases are at the start."""
    rng = np.random.default_rng(seed)
    shapes = [weight.shape for weight in init_characters(characters, hidden=hidden)]
    return CharacterWeights(*(rng.normal(0, 0.7, shape) for shape in shapes))


def by_autograd(weights: CharacterWeights, codes, targets, state, activation: str):
    """The loss, and its gradients for weights and one-hot characters, of the same model in torch."""
    w_x, w_h, b_h, w_y, b_y = leaves = [torch.tensor(weight, requires_grad=True) for weight in weights]
    one_hot = functional.one_hot(torch.from_numpy(codes), len(w_x)).double().requires_grad_()
    hidden, logits = torch.from_numpy(state), []
    for x in one_hot:
        hidden = TORCH[activation](x @ w_x + hidden @ w_h + b_h)
        logits.append(hidden @ w_y + b_y)
    loss = functional.cross_entropy(torch.stack(logits).flatten(0, 1), torch.from_numpy(targets).flatten())
    gradients = torch.autograd.grad(loss, [*leaves, one_hot])
    return loss.item(), [gradient.numpy() for gradient in gradients]


@settings(max_examples=25, deadline=None)
@given(small, small, small, small, st.sampled_from(sorted(ACTIVATIONS)), st.integers(0, 2**32 - 1))
def test_back_propagation_through_time_by_hand_equals_autograd(steps, count, characters, hidden, activation, seed):
    rng = np.random.default_rng(seed)
    weights = drawn_weights(characters, hidden, seed)
    codes, targets = rng.integers(characters, size=(2, steps, count))
    state = rng.normal(size=(count, hidden))
    units, logits = forward(weights, codes, state, activation=activation)
    loss, d_logits = cross_entropy(logits, targets)
    gradients, d_inputs = backward(weights, codes, units, d_logits, activation=activation)
    their_loss, theirs = by_autograd(weights, codes, targets, state, activation)
    assert loss == pytest.approx(their_loss, abs=1e-12)
    for ours, their in zip([*gradients, d_inputs], theirs, strict=True):
        np.testing.assert_allclose(ours, their, rtol=0, atol=1e-8)


def test_the_past_reaches_the_gradient_of_the_hidden_weights():
    """The comparison above would hold for nothing if all gradients were 0."""
    weights = drawn_weights(4, 5, seed=1)
    codes = np.array([[0, 1], [2, 3], [1, 1]])
    hidden, logits = forward(weights, codes)
    _, d_logits = cross_entropy(logits, codes)
    d_logits[:-1] = 0  # only the last step has a loss
    gradients, d_inputs = backward(weights, codes, hidden, d_logits)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in gradients)
    assert (np.abs(d_inputs).max(axis=(1, 2)) > 1e-4).all()


def test_text_read_in_two_parts_gives_the_same_as_at_once():
    weights, codes = drawn_weights(4, 5, seed=2), np.random.default_rng(0).integers(4, size=(7, 3))
    hidden, logits = forward(weights, codes)
    first, _ = forward(weights, codes[:3])
    second, rest = forward(weights, codes[3:], first[-1])
    np.testing.assert_allclose(rest, logits[3:], atol=1e-12)
    np.testing.assert_allclose(second[-1], hidden[-1], atol=1e-12)


def test_probabilities_and_loss_stand_logits_of_any_size():
    logits = np.array([[[1000.0, 0.0, -1000.0]]])
    np.testing.assert_array_equal(softmax(logits), [[[1, 0, 0]]])
    loss, gradient = cross_entropy(logits, np.array([[2]]))
    assert loss == 2000
    np.testing.assert_array_equal(gradient, [[[1, 0, -1]]])


def test_rmsprop_divides_each_gradient_by_its_own_size():
    weights = CharacterWeights(*(np.zeros(2) for _ in range(5)))
    gradients = CharacterWeights(*(np.array([1e-3, -1e3]) for _ in range(5)))
    moved, squares = rmsprop_step(weights, gradients, weights, lr=0.1, decay=0.75)
    np.testing.assert_allclose(moved.w_h, [-0.2, 0.2], rtol=1e-4)  # lr / sqrt(1 - decay)
    np.testing.assert_allclose(squares.b_y, [0.25e-6, 0.25e6])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_text_that_needs_the_past_is_learnt_and_written(activation: str):
    codes = np.tile([0, 0, 1, 0, 2], 40)  # what follows a 0 depends on what was before it
    weights = init_characters(3, hidden=16, activation=activation)
    losses, kept = fit_characters(
        weights, codes, steps=250, length=10, lr=5e-3, activation=activation, keep=(0, 20), seed=1
    )
    assert len(losses) == 250
    assert losses[0] > 0.8
    assert losses[-1] < 0.3  # what is left is the start of a piece, whose past is not seen
    assert list(kept) == [0, 20, 250]
    np.testing.assert_array_equal(kept[0].w_x, weights.w_x)
    written = generate(kept[250], codes[:5], length=5, activation=activation)
    assert written.tolist() == codes[:10].tolist()


def test_the_same_seed_gives_the_same_weights_and_text():
    codes = np.random.default_rng(0).integers(5, size=100)
    weights = init_characters(5, hidden=8, dtype=np.float32)
    (one, kept), (other, again) = (fit_characters(weights, codes, steps=3, length=4, seed=7) for _ in range(2))
    assert one == other
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(kept[3], again[3], strict=True))
    assert {weight.dtype for weight in kept[3]} == {np.dtype(np.float32)}
    texts = [generate(kept[3], codes[:2], length=40, seed=seed).tolist() for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


@settings(max_examples=10, deadline=None)
@given(small, small, small, small, st.integers(0, 2**32 - 1))
def test_a_gru_by_hand_equals_torchs(steps, count, inputs, hidden, seed):
    torch.manual_seed(seed)
    gru = nn.GRU(inputs, hidden).double()
    x = torch.randn(steps, count, inputs, dtype=torch.float64)
    weights = GRUWeights(*(parameter.detach().numpy() for parameter in gru.parameters()))
    outputs, reset, update = gru_forward(weights, x.numpy())
    np.testing.assert_allclose(outputs, gru(x)[0].detach().numpy(), rtol=0, atol=1e-12)
    assert reset.shape == update.shape == (steps, count, hidden)
    assert ((reset > 0) & (reset < 1) & (update > 0) & (update < 1)).all()


def test_a_shut_update_gate_takes_the_candidate_and_an_open_one_keeps_the_past():
    weights = GRUWeights(np.ones((3, 1)), np.zeros((3, 1)), np.array([0, -1e4, 0.0]), np.zeros(3))
    outputs, _, update = gru_forward(weights, np.array([0.5, 2e4])[:, None, None])
    assert update.ravel().tolist() == [0, 1]
    assert outputs.ravel().tolist() == [np.tanh(0.5)] * 2


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_lies_after_a_sequences_end_changes_nothing(bidirectional: bool):
    torch.manual_seed(0)
    net = SequenceGRU(3, hidden=4, classes=2, bidirectional=bidirectional).eval()
    sequences, lengths = torch.randn(2, 5, 3), torch.tensor([2, 4])
    logits = net(sequences, lengths)
    assert logits.shape == (2, 5, 2)
    torch.testing.assert_close(logits[:1, :2], net(sequences[:1, :2], lengths[:1]))
    sequences[0, 2:], sequences[1, 4:] = 99, -99
    assert torch.equal(net(sequences, lengths), logits)


def test_a_frame_knows_those_before_it_and_in_both_directions_also_those_after_it():
    torch.manual_seed(0)
    for bidirectional in (False, True):
        net = SequenceGRU(3, hidden=4, classes=2, bidirectional=bidirectional).eval()
        sequence, lengths = torch.randn(1, 3, 3), torch.tensor([3])
        before = net(sequence, lengths)
        sequence[0, 1] += 1
        changed = (net(sequence, lengths) != before).any(dim=2)[0]
        assert changed.tolist() == [bidirectional, True, True]


def test_the_gradient_of_the_last_steps_loss_is_that_of_finite_differences():
    torch.manual_seed(0)
    net = SequenceGRU(3, hidden=4, classes=2).double().eval()
    sequences, targets = torch.randn(2, 4, 3, dtype=torch.float64), torch.tensor([0, 1])
    gradient = last_step_gradient(net, sequences, targets)
    assert gradient.shape == sequences.shape

    def loss(inputs: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(net(inputs, torch.tensor([4, 4]))[:, -1], targets)

    for place in [(0, 0, 1), (1, 3, 2)]:
        step = torch.zeros_like(sequences)
        step[place] = 1e-5
        slope = (loss(sequences + step) - loss(sequences - step)).item() / 2e-5
        assert gradient[place].item() == pytest.approx(slope, rel=1e-5)
        assert abs(slope) > 1e-6
