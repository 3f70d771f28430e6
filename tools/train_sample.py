"""Train the sample's checkpoint: ``python tools/train_sample.py --output dla_tiny.pth`` (modern stack).

``dla_tiny`` learns from scenes that are drawn during training, each used once. ``--seed`` determines the
scenes, their order and the initial weights. The number of threads may affect the order of sums, and so the
last digits.
"""

import argparse
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from training_targets import loss, make_targets

from centernet.detection import COCO, DOWN_RATIO
from centernet.networks.architectures import create_model
from centernet.sample.scene import CATEGORIES, draw_scene
from centernet.system.files import atomic_write

#: (height, width) of the network's input
INPUT_SIZE = (128, 128)
#: first number of the seed of training scenes; validation scenes have another (centernet.sample.dataset)
TRAINING_KEY = 1


class Scenes(Dataset):
    """Training scenes with their targets; scene i depends only on the seed and i."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tuple[torch.Tensor, Dict[str, np.ndarray]]:
        """Return the input, float32 [3, h, w], and its targets."""
        cv2.setNumThreads(0)
        scene = draw_scene([TRAINING_KEY, self.seed, index], crowds=False)
        height, width = scene.image.shape[:2]
        random = np.random.RandomState([TRAINING_KEY, self.seed, index, 1])
        # the longer side fills the input, as in evaluation, up to a third larger or smaller
        scale = max(INPUT_SIZE) / max(height, width) * 2 ** random.uniform(-0.4, 0.4)
        shift = [size / 2 - scale * extent / 2 for size, extent in zip(INPUT_SIZE[::-1], (width, height))]
        warp = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        image = cv2.warpAffine(scene.image, warp, INPUT_SIZE[::-1], flags=cv2.INTER_LINEAR)
        image = (image.astype(np.float32) / 255 - np.float32(COCO.mean)) / np.float32(COCO.std)
        boxes = np.array([shape.box for shape in scene.shapes], np.float64).reshape(-1, 2, 2) * scale + shift
        boxes = boxes.clip(0, INPUT_SIZE[::-1]).reshape(-1, 4) / DOWN_RATIO
        classes = np.array([shape.category for shape in scene.shapes], np.int64)
        seen = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 1
        size = tuple(extent // DOWN_RATIO for extent in INPUT_SIZE)
        targets = make_targets(boxes[seen], classes[seen], len(CATEGORIES), size)
        return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)), targets


def train(
    seed: int = 1,
    steps: int = 2400,
    batch_size: int = 16,
    rate: float = 2e-3,
    report: Callable[[str], None] = print,
) -> Dict[str, torch.Tensor]:
    """Train ``dla_tiny`` and return its state dict, float32.

    Args:
        seed: of the weights and the scenes.
        steps, batch_size: duration of the training.
        rate: the highest learning rate (Adam; linear warm-up over the first 5 %, then a half cosine down to
            0).
        report: called with a line of text every 100 steps.
    """
    torch.manual_seed(seed)
    model = create_model('dla_tiny', {'hm': len(CATEGORIES), 'wh': 2, 'reg': 2})
    model.to(memory_format=torch.channels_last)  # a third faster on a CPU
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    warm_up = max(1, steps // 20)

    def schedule(step):
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + np.cos(np.pi * (step - warm_up) / max(1, steps - warm_up)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    loader = DataLoader(Scenes(seed, steps * batch_size), batch_size=batch_size, num_workers=1)
    started, total = time.time(), 0.0
    for step, (images, targets) in enumerate(loader, 1):
        value = loss(model(images.contiguous(memory_format=torch.channels_last)), targets)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        scheduler.step()
        total += float(value.detach())
        if step % 100 == 0 or step == steps:
            report(
                f'step {step}/{steps}  loss {total / ((step - 1) % 100 + 1):.3f} '
                f' {time.time() - started:.0f} s'
            )
            total = 0.0
    return model.state_dict()


def save(state_dict: Dict[str, torch.Tensor], path: str, **meta: Any) -> None:
    """Write a checkpoint with fp16 weights and ``meta``, in the legacy format, which torch 1.0.0 can read."""
    halved = {
        name: tensor.contiguous().half() if tensor.is_floating_point() else tensor
        for name, tensor in state_dict.items()
    }
    with atomic_write(path, 'wb') as file:
        torch.save(dict(meta, state_dict=halved), file, _use_new_zipfile_serialization=False)


def main(argv: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(prog='python tools/train_sample.py', description=__doc__.splitlines()[0])
    parser.add_argument('--output', required=True, help='the checkpoint to write')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--steps', type=int, default=2400)
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--rate', type=float, default=2e-3)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    state_dict = train(
        options.seed,
        options.steps,
        options.batch_size,
        options.rate,
        report=lambda line: print(line, flush=True),
    )
    save(
        state_dict,
        options.output,
        arch='dla_tiny',
        epoch=1,
        steps=options.steps,
        input_size=list(INPUT_SIZE),
        classes=[name for _, name in CATEGORIES],
        seed=options.seed,
    )


if __name__ == '__main__':
    main()
