"""A module of a project, with a network whose class a model names."""

import torch


class Scaled(torch.nn.Module):
    """A line whose answers are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(4, 2)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.line(rows) * self.scale
