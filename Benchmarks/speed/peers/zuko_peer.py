"""zuko: its own affine couplings with the driver's weights."""
import torch
import zuko
from zuko.flows import Flow, GeneralCouplingTransform, UnconditionalDistribution
from zuko.distributions import DiagNormal
from zuko.transforms import MonotonicAffineTransform

from flow import LOG_SCALE_BOUND
from peers import torch_eager


class Bounded(MonotonicAffineTransform):
    """zuko's affine law with the driver's bound of the log-scale."""

    def __init__(self, shift, scale):
        super().__init__(shift, scale)
        self.log_scale = LOG_SCALE_BOUND * torch.tanh(scale / LOG_SCALE_BOUND)
        self.scale = self.log_scale.exp()


class Peer(torch_eager.Peer):
    def make(self):
        shape, transforms = self.shape, []
        for layer in range(shape.layers):
            mask = torch.zeros(shape.features, dtype=torch.bool)
            mask[shape.halves(layer)[0]] = True
            transform = GeneralCouplingTransform(
                shape.features, 0, mask=mask, univariate=Bounded, shapes=[(), ()],
                hidden_features=(shape.width, shape.width), activation=torch.nn.ReLU)
            linears = [m for m in transform.modules() if isinstance(m, (torch.nn.Linear, zuko.nn.Linear))]
            with torch.no_grad():
                for index, linear in enumerate(linears):
                    weight, bias = (torch.from_numpy(t) for t in self.weights[6 * layer + 2 * index:][:2])
                    if index == 2:  # zuko's numbers stand feature by feature, shift first
                        weight = weight.reshape(2, -1, shape.width).flip(0).transpose(0, 1).reshape(-1, shape.width)
                        bias = bias.reshape(2, -1).flip(0).T.reshape(-1)
                    linear.weight.copy_(weight)
                    linear.bias.copy_(bias)
            transforms.append(transform)
        base = UnconditionalDistribution(
            DiagNormal, torch.zeros(shape.features), torch.ones(shape.features), buffer=True)
        return LogProbability(Flow(transforms, base))


class LogProbability(torch.nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, x):
        return self.flow().log_prob(x)
