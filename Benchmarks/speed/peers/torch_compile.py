"""The hand-written PyTorch model through torch.compile: inductor, weights frozen for scoring."""
import torch
import torch._inductor.config

from peers import torch_eager

torch._dynamo.config.cache_size_limit = 64


class Peer(torch_eager.Peer):
    def __init__(self, shape, weights, threads):
        super().__init__(shape, weights, threads)
        torch._dynamo.reset()
        torch._inductor.config.freezing = True
        self.model.eval()
        self.score = torch.compile(self.model, dynamic=False)

    def scorer(self, rows):
        x, score = torch.from_numpy(rows), self.score

        def call():
            with torch.no_grad():
                return score(x).numpy()
        return call

    def one_record(self):
        score = self.score

        def call(row):
            with torch.no_grad():
                return float(score(torch.from_numpy(row)))
        return call

    def loss(self, model):
        return torch.compile(lambda x: -model(x).mean(), dynamic=False)
