"""diffusers' pipelines against LoRA files that `loragen convert` wrote: Stable Diffusion 1, SDXL, Flux and PixArt.

pipelines.py LORAGEN: tiny models with every kind of block are made on the spot (Flux at its real width, one block of each
kind, about 3 GB). Every adapted module's fused weight must be W + scale * up * down, and no module may be left out.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel,
    PixArtTransformer2DModel, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel)
from peft import PeftModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

torch.set_num_threads(2)
LORAGEN = sys.argv[1]


def convert(source, target, *options):
    done = subprocess.run([LORAGEN, "convert", str(source), str(target), *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def clip(kind=CLIPTextModel):
    torch.manual_seed(1)
    return kind(CLIPTextConfig(
        vocab_size=100, hidden_size=32, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4,
        projection_dim=32)).eval()


def vae():
    torch.manual_seed(1)
    return AutoencoderKL(block_out_channels=(32,), in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=8,
                         down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",))


def sd1():
    torch.manual_seed(0)
    cross = ["CrossAttnDownBlock2D"] * 3
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16, 16, 16), layers_per_block=2, sample_size=16, cross_attention_dim=32,
        attention_head_dim=4, norm_num_groups=4, down_block_types=(*cross, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3))
    return StableDiffusionPipeline(vae=vae(), text_encoder=clip(), tokenizer=None, unet=unet, scheduler=DDIMScheduler(),
                                   safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def sdxl():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16, 16), layers_per_block=2, sample_size=16, cross_attention_dim=64,
        attention_head_dim=4, norm_num_groups=4, transformer_layers_per_block=(1, 2, 2), use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=80)
    return StableDiffusionXLPipeline(
        vae=vae(), text_encoder=clip(), text_encoder_2=clip(CLIPTextModelWithProjection), tokenizer=None,
        tokenizer_2=None, unet=unet, scheduler=DDIMScheduler())


def flux():
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, in_channels=16, joint_attention_dim=32, pooled_projection_dim=32)
    return FluxPipeline(scheduler=FlowMatchEulerDiscreteScheduler(), vae=None, text_encoder=clip(), tokenizer=None,
                        text_encoder_2=None, tokenizer_2=None, transformer=transformer)


def targets(model, component):
    """Every module that kohya's trainers adapt, by diffusers' name."""
    found = {}
    for name, module in model.named_modules():
        if not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            continue
        if component == "transformer" and not name.split(".")[0].endswith("transformer_blocks"):
            continue  # kohya has names for the blocks alone
        if component.startswith("text_encoder") and not any(p in name for p in ("self_attn", "mlp")):
            continue
        found[name] = module
    return found


def write(pipeline, path, ranks, components):
    """A random adapter in diffusers' format, and its updates."""
    generator = torch.Generator().manual_seed(2)
    tensors, updates = {}, {}
    for component in components:
        for i, (name, module) in enumerate(targets(getattr(pipeline, component), component).items()):
            weight, rank = module.weight, ranks[i % len(ranks)]
            a = torch.randn(rank, *weight.shape[1:], generator=generator)
            b = torch.randn(weight.shape[0], rank, *[1] * (weight.dim() - 2), generator=generator) * 0.1
            path_ = name
            if component.startswith("text_encoder") and not name.startswith("text_model."):
                path_ = "text_model." + name
            tensors[f"{component}.{path_}.lora_A.weight"] = a
            tensors[f"{component}.{path_}.lora_B.weight"] = b
            updates[component, name] = (b.flatten(1) @ a.flatten(1)).reshape(weight.shape)
    save_file(tensors, path, metadata={"format": "pt"})
    return updates


def check(make, file, updates, title):
    pipeline = make()
    before = {key: pipeline_weight(pipeline, key) for key in updates}
    pipeline.load_lora_weights(str(file))
    fused = sorted({component for component, _ in updates})
    pipeline.fuse_lora(components=fused)
    pipeline.unload_lora_weights()
    worst = 0.0
    for key, update in updates.items():
        change = pipeline_weight(pipeline, key) - before[key]
        error = ((change - update).norm() / update.norm()).item()
        assert error < 1e-4, (title, key, error)
        worst = max(worst, error)
    print(f"{title}: {len(updates)}/{len(updates)} modules, worst relative error {worst:.1e}", flush=True)


def pipeline_weight(pipeline, key):
    component, name = key
    return getattr(pipeline, component).get_submodule(name).weight.detach().clone()


def run(folder):
    source, target = folder / "source.safetensors", folder / "target.safetensors"
    for title, make, components, model in [
        ("Stable Diffusion 1", sd1, ["unet", "text_encoder"], "sd1"),
        ("SDXL", sdxl, ["unet", "text_encoder", "text_encoder_2"], "sdxl"),
        ("Flux", flux, ["transformer", "text_encoder"], "flux"),
    ]:
        for ranks in [[4], [2, 3]]:
            updates = write(make(), source, ranks, components)
            convert(source, target, "--format", "kohya", "--model", model)
            check(make, target, updates, f"{title}, kohya, ranks {ranks}")
            convert(target, source, "--format", "diffusers")
            check(make, source, updates, f"{title}, diffusers, ranks {ranks}")
            if model == "flux":
                break
    torch.manual_seed(0)

    def pixart():
        torch.manual_seed(0)
        return PixArtTransformer2DModel(num_layers=2, num_attention_heads=2, attention_head_dim=8, in_channels=4,
                                        cross_attention_dim=16, caption_channels=16, sample_size=8)

    class Holder:
        transformer = pixart()

    updates = write(Holder, source, [2, 3], ["transformer"])
    convert(source, folder / "pixart")
    before = pixart()
    merged = PeftModel.from_pretrained(pixart(), folder / "pixart").merge_and_unload()
    for (_, name), update in updates.items():
        change = merged.get_submodule(name).weight - before.get_submodule(name).weight
        assert ((change - update).norm() / update.norm()).item() < 1e-4, name
    print(f"PixArt, PEFT: {len(updates)}/{len(updates)} modules")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))
