#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exports the base model to ONNX with one LoRA branch per targeted layer, and checks it.

The branches' matrices are optional graph inputs named by the PEFT key. Their
defaults have rank zero, so without an adapter the graph is the base model.

    python export_onnx.py                                  # writes base.onnx
    python export_onnx.py --check corpus/0001100101        # and compares with PEFT
"""
import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import ViTForImageClassification

HERE = Path(__file__).resolve().parent


def add_lora_inputs(model, targets):
    """Adds y += (x A^T) B^T beside every MatMul of the modules named in `targets`; whoever feeds B has multiplied it by
    alpha / r, so that adapters of any alpha and rank run in one graph.

    The exporter names a module's nodes by its path ("/vit/layers.0/attention/q_proj/MatMul"),
    which is how the PEFT key of a node is known.
    """
    graph = model.graph
    weights = {t.name: t for t in graph.initializer}
    nodes, keys = [], []
    for node in graph.node:
        path = node.name.split("/")
        if node.op_type != "MatMul" or path[-1] != "MatMul" or path[-2] not in targets:
            nodes.append(node)
            continue
        module = ".".join(path[1:-1])
        inside, outside = weights[node.input[1]].dims
        a, b = (f"base_model.model.{module}.lora_{m}.weight" for m in "AB")
        keys += [a, b]
        rank = f"rank.{module}"
        graph.input.append(helper.make_tensor_value_info(a, TensorProto.FLOAT, [rank, inside]))
        graph.input.append(helper.make_tensor_value_info(b, TensorProto.FLOAT, [outside, rank]))
        graph.initializer.append(numpy_helper.from_array(np.zeros((0, inside), np.float32), a))
        graph.initializer.append(numpy_helper.from_array(np.zeros((outside, 0), np.float32), b))
        result, name = node.output[0], f"lora.{module}"
        node.output[0] = f"{name}.base"
        nodes += [
            node,
            helper.make_node("Transpose", [a], [f"{name}.at"], f"{name}.at", perm=[1, 0]),
            helper.make_node("MatMul", [node.input[0], f"{name}.at"], [f"{name}.x"], f"{name}.x"),
            helper.make_node("Transpose", [b], [f"{name}.bt"], f"{name}.bt", perm=[1, 0]),
            helper.make_node("MatMul", [f"{name}.x", f"{name}.bt"], [f"{name}.y"], f"{name}.y"),
            helper.make_node("Add", [f"{name}.base", f"{name}.y"], [result], f"{name}.sum"),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    return keys


def without_symbolic_shapes(model):
    """Intermediate shapes that the exporter recorded say nothing about the new branches."""
    del model.graph.value_info[:]


def check(onnx_path, base_path, adapter):
    import onnxruntime
    from peft import PeftModel

    from evaluate import load_adapter

    images = np.load(HERE / "test_images.npz")["images"]
    from pretrain_base import to_pixel_values

    pixels = to_pixel_values(images)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the optional inputs are meant to be no constants
    session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    base = ViTForImageClassification.from_pretrained(base_path).eval()
    worst = []
    with torch.no_grad():
        expected = base(pixel_values=pixels).logits.numpy()
        got = session.run(None, {"pixel_values": pixels.numpy()})[0]
        worst.append(np.abs(expected - got).max())
        if adapter:
            model = PeftModel.from_pretrained(base, adapter).eval()
            expected = model(pixel_values=pixels).logits.numpy()
            got = session.run(None, {"pixel_values": pixels.numpy(),
                                     **load_adapter(adapter)})[0]
            worst.append(np.abs(expected - got).max())
    for name, value in zip(["base", "adapter"], worst):
        print(f"largest difference of the logits, {name}: {value:.2e}")
    if max(worst) >= 1e-4:
        raise SystemExit("ONNX Runtime and PyTorch disagree")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=HERE / "base")
    parser.add_argument("--out", type=Path, default=HERE / "base.onnx")
    parser.add_argument("--targets", default="q_proj,v_proj,o_proj")
    parser.add_argument("--check", help="folder of a PEFT adapter")
    args = parser.parse_args()

    # Anything but "eager" exports attention as a fused operator that opset 17 lacks.
    base = ViTForImageClassification.from_pretrained(args.base, attn_implementation="eager").eval()
    torch.onnx.export(
        base, (torch.zeros(2, 1, 8, 8),), str(args.out), dynamo=False, opset_version=17,
        input_names=["pixel_values"], output_names=["logits"],
        dynamic_axes={"pixel_values": {0: "images"}, "logits": {0: "images"}},
    )
    model = onnx.load(args.out)
    keys = add_lora_inputs(model, args.targets.split(","))
    without_symbolic_shapes(model)
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, args.out)
    print(f"wrote {args.out}: {args.out.stat().st_size} bytes, {len(keys)} adapter inputs")
    check(args.out, args.base, args.check)


if __name__ == "__main__":
    main()
