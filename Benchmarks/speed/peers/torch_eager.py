"""PyTorch, written by hand: halves as views, one addmm a dense layer."""
import torch
from torch import nn

from flow import LOG_SCALE_BOUND


class Coupling(nn.Module):
    def __init__(self, shape, layer, tensors):
        super().__init__()
        self.reads, self.changes = shape.halves(layer)
        self.net = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(shape.sides(layer)):
            dense = nn.Linear(inputs, outputs)
            with torch.no_grad():
                dense.weight.copy_(torch.from_numpy(tensors[2 * index]))
                dense.bias.copy_(torch.from_numpy(tensors[2 * index + 1]))
            self.net.append(dense)

    def forward(self, a, b):
        h = torch.relu(self.net[0](a))
        h = torch.relu(self.net[1](h))
        raw, shift = self.net[2](h).chunk(2, dim=1)
        log_scale = LOG_SCALE_BOUND * torch.tanh(raw * (1 / LOG_SCALE_BOUND))
        return b * torch.exp(log_scale) + shift, log_scale.sum(dim=1)


class Model(nn.Module):
    def __init__(self, shape, weights):
        super().__init__()
        self.middle = (shape.features + 1) // 2
        self.constant = 0.5 * shape.features * 1.8378770664093453
        self.couplings = nn.ModuleList(
            Coupling(shape, layer, weights[6 * layer:6 * layer + 6]) for layer in range(shape.layers))

    def forward(self, x):
        a, b = x[:, :self.middle], x[:, self.middle:]
        total = 0
        for layer, coupling in enumerate(self.couplings):
            if layer % 2 == 0:
                b, log_det = coupling(a, b)
            else:
                a, log_det = coupling(b, a)
            total = total + log_det
        return total - 0.5 * ((a * a).sum(dim=1) + (b * b).sum(dim=1)) - self.constant


class Peer:
    def __init__(self, shape, weights, threads):
        torch.set_num_threads(threads)
        self.threads, self.shape, self.weights = threads, shape, weights
        self.model = self.make()
        self.score = self.model

    def make(self):
        return Model(self.shape, self.weights)

    def scorer(self, rows):
        x, score = torch.from_numpy(rows), self.score

        def call():
            with torch.inference_mode():
                return score(x).numpy()
        return call

    def one_record(self):
        score = self.score

        def call(row):
            with torch.inference_mode():
                return float(score(torch.from_numpy(row)))
        return call

    def loss(self, model):
        return lambda x: -model(x).mean()

    def trainer(self, rows):
        x, model = torch.from_numpy(rows), self.make()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
        loss = self.loss(model)

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss(x).backward()
            optimizer.step()
        return step
