"""nflows: its own affine couplings with the driver's weights."""
import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows import Flow
from nflows.transforms import AffineCouplingTransform, CompositeTransform

from flow import LOG_SCALE_BOUND
from peers import torch_eager


class Conditioner(torch.nn.Sequential):
    """Called as nflows calls its networks."""

    def forward(self, x, context=None):
        return super().forward(x)


class Coupling(AffineCouplingTransform):
    """nflows' affine law with the driver's bound of the log-scale."""

    def _scale_and_shift(self, transform_params):
        count = self.num_transform_features
        raw, shift = transform_params[:, :count], transform_params[:, count:]
        return torch.exp(LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND)), shift


class Peer(torch_eager.Peer):
    def make(self):
        shape, transforms = self.shape, []
        for layer in range(shape.layers):
            mask = torch.zeros(shape.features)
            mask[shape.halves(layer)[1]] = 1
            transforms.append(Coupling(mask, lambda inputs, outputs: self.conditioner(layer)))
        return LogProbability(Flow(CompositeTransform(transforms), StandardNormal([shape.features])))

    def conditioner(self, layer):
        modules = []
        for index, (inputs, outputs) in enumerate(self.shape.sides(layer)):
            dense = torch.nn.Linear(inputs, outputs)
            weight, bias = self.weights[6 * layer + 2 * index:][:2]
            with torch.no_grad():
                dense.weight.copy_(torch.from_numpy(weight))
                dense.bias.copy_(torch.from_numpy(bias))
            modules += [dense, torch.nn.ReLU()]
        return Conditioner(*modules[:-1])


class LogProbability(torch.nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, x):
        return self.flow.log_prob(x)
