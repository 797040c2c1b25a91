#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pre-trains the small ViT that every task of the digits example fine-tunes.

The ten-class head that the network was trained with is then replaced by a
random two-way readout that stays frozen, the same one for all tasks, so that a
task has to be expressed by the adapter alone.

    python pretrain_base.py                 # writes base/ and test_images.npz
"""
import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import ViTConfig, ViTForImageClassification

HERE = Path(__file__).resolve().parent
MEAN, STD = 0.3, 0.375  # of load_digits scaled to 0..1; only the order of magnitude matters


def load_data():
    """(train images, train labels, test images, test labels); images are uint8 [n, 8, 8] in 0..16."""
    digits = load_digits()
    images = digits.images.astype(np.uint8)
    labels = digits.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return images[train], labels[train], images[test], labels[test]


def to_pixel_values(images):
    """uint8 [n, 8, 8] in 0..16 -> float32 [n, 1, 8, 8]. evaluate.py repeats this in numpy."""
    return torch.from_numpy(((images.astype(np.float32) / 16.0 - MEAN) / STD)[:, None])


def make_config(labels, patch, intermediate):
    return ViTConfig(
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=intermediate,
        image_size=8,
        patch_size=patch,
        num_channels=1,
        num_labels=labels,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def shifted(images, generator):
    """Moves each image by -1, 0 or 1 pixel along both axes; 1437 images alone overfit."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-MEAN / STD)
    out = torch.empty_like(images)
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator)
    for i, (y, x) in enumerate(offsets.tolist()):
        out[i] = padded[i, :, y : y + 8, x : x + 8]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "base")
    parser.add_argument("--images", type=Path, default=HERE / "test_images.npz")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--intermediate", type=int, default=256)
    parser.add_argument("--readout-scale", type=float, default=0.25, help="standard deviation of the random readout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    x_train, y_train, x_test, y_test = load_data()
    train, test = to_pixel_values(x_train), to_pixel_values(x_test)
    y = torch.from_numpy(y_train)

    model = ViTForImageClassification(make_config(10, args.patch, args.intermediate))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    steps = args.epochs * (len(train) // args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(args.seed)
    start = time.time()
    for epoch in range(args.epochs):
        model.train()
        order = torch.randperm(len(train), generator=generator)
        for b in range(len(train) // args.batch):
            index = order[b * args.batch : (b + 1) * args.batch]
            logits = model(pixel_values=shifted(train[index], generator)).logits
            loss = torch.nn.functional.cross_entropy(logits, y[index], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 5 == 4 or epoch == args.epochs - 1:
            model.eval()
            with torch.no_grad():
                hits = (model(pixel_values=test).logits.argmax(-1).numpy() == y_test).mean()
            print(f"epoch {epoch + 1}/{args.epochs}  loss {loss.item():.3f}  "
                  f"test {hits:.4f}  {time.time() - start:.0f} s", flush=True)

    base = ViTForImageClassification(make_config(2, args.patch, args.intermediate))
    base.vit.load_state_dict(model.vit.state_dict())
    with torch.no_grad():
        readout = torch.randn(64, generator=torch.Generator().manual_seed(args.seed)) * args.readout_scale
        # Opposite rows make the two logits symmetric: neither label is the default one.
        base.classifier.weight.copy_(torch.stack([-readout, readout]))
        base.classifier.bias.zero_()
    base.eval()
    base.save_pretrained(args.out)
    np.savez_compressed(args.images, images=x_test, labels=y_test.astype(np.uint8))
    with torch.no_grad():
        share = base(pixel_values=test).logits.argmax(-1).float().mean()
    print(f"wrote {args.out} and {args.images}; untouched base answers 1 for {share:.3f} of the test images")


if __name__ == "__main__":
    main()
