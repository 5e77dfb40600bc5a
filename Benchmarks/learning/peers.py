"""The peers: zuko's and nflows' coupling flows as their authors lay them, trained as flowguard is."""
import math

import numpy as np
import torch
import zuko
from nflows.distributions.normal import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (ActNorm, AffineCouplingTransform, CompositeTransform,
                               PiecewiseRationalQuadraticCouplingTransform)
from nflows.utils.torchutils import create_alternating_binary_mask
from torch import nn

RATE, RISE, NORM_LIMIT, LOOK, PATIENCE = 2e-3, 50, 5.0, 50, 10
BINS, BOUND = 8, 5.0


class Network(nn.Sequential):
    """A perceptron with two hidden layers, called as nflows calls its networks."""

    def __init__(self, inputs, outputs, width):
        super().__init__(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                         nn.Linear(width, outputs))
        self.hidden_features = width  # by which nflows scales a spline's raw widths and heights

    def forward(self, x, context=None):
        return super().forward(x)


def of_zuko(features, law, layers, width):
    if law == "affine":
        flow = zuko.flows.RealNVP(features, transforms=layers, hidden_features=(width, width))
    else:
        flow = zuko.flows.NSF(features, transforms=layers, hidden_features=(width, width), bins=BINS, passes=2)
    return flow, lambda x: flow().log_prob(x)


def of_nflows(features, law, layers, width):
    def coupling(layer):
        mask = create_alternating_binary_mask(features, even=layer % 2 == 0)
        network = lambda inputs, outputs: Network(inputs, outputs, width)
        if law == "affine":
            return AffineCouplingTransform(mask, network)
        return PiecewiseRationalQuadraticCouplingTransform(
            mask, network, num_bins=BINS, tails="linear", tail_bound=BOUND)
    # Its affine couplings shrink only: ActNorm, as in flowguard's, lets the flow expand.
    steps = [step for layer in range(layers) for step in (ActNorm(features), coupling(layer))]
    flow = Flow(CompositeTransform(steps), StandardNormal([features]))
    return flow, flow.log_prob


MAKERS = {"zuko": of_zuko, "nflows": of_nflows}


def learn(name, task, law, layers, width, steps, batch, seed):
    """ln p of each test row, by the weights with the best held-out likelihood."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    flow, log_prob = MAKERS[name](task.train.shape[1], law, layers, width)
    train, held_out, test = (torch.from_numpy(part) for part in (task.train, task.held_out, task.test))
    optimiser = torch.optim.Adam(flow.parameters(), lr=RATE)
    batch = min(batch, len(train))
    order, best, kept, looks = np.empty(0, int), -math.inf, None, 0
    for step in range(steps):
        if len(order) < batch:
            order = np.concatenate([order, rng.permutation(len(train))])
        rows, order = order[:batch], order[batch:]
        # Along a cosine to a hundredth, as flowguard's.
        share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = RATE * share * min(1, (step + 1) / RISE)
        optimiser.zero_grad()
        loss = -log_prob(train[rows]).mean()
        if not torch.isfinite(loss):
            break
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), NORM_LIMIT)
        optimiser.step()
        if (step + 1) % LOOK == 0:
            with torch.no_grad():
                now = log_prob(held_out).mean().item()
            if now > best:
                best, looks = now, 0
                kept = {key: value.clone() for key, value in flow.state_dict().items()}
            else:
                looks += 1
                if looks >= PATIENCE:
                    break
    if kept is None:
        return np.full(len(test), -np.inf)
    flow.load_state_dict(kept)
    with torch.no_grad():
        return log_prob(test).double().numpy()
