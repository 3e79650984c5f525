"""What an update minimises: a function of model, task and batch.

An objective yields its terms, scalars that are sums over the batch's units (rows, or words). `mt_dnn.update` divides
each by the units of the whole update, and runs its backward pass before it asks for the next one: gradients add up,
and memory holds one graph at a time. Everything an objective computes runs under the update's autocast. It calls the
model through `forward` alone, so it works on one process, under DDP and under FSDP. For every batch of a task it must
yield equally many terms, so that processes stay in step.

What an objective takes for the loss of a task's logits is its `criterion`. Distillation (`distill`) is another
criterion: soft labels are one more entry of `batch.targets`, and the task's loss against its labels is mixed with its
`kd_loss` against them. So it goes with any objective.

There is one objective, `Plain`. How others fit, without a change to the update:

SMART (Jiang et al. 2020): the encoder takes one more input, a perturbation of the word embeddings, (lines, width,
hidden). The objective finds it by extra forward passes and `torch.autograd.grad`, which leaves the parameters'
gradients alone. It yields one term: `task_loss` plus the divergence of the two outputs.

FreeLB (Zhu et al. 2020): the same input. Each ascent step yields its share of the loss. When the generator goes on, the
perturbation has its gradient, up to a factor, and takes the next step.

An objective with settings is a frozen dataclass with this call.
"""

from mt_dnn.objectives.objective import Criterion, Forward, Objective
from mt_dnn.objectives.plain import Plain, criterion, plain, task_loss

__all__ = ["Criterion", "Forward", "Objective", "Plain", "criterion", "plain", "task_loss"]
