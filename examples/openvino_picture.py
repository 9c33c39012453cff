"""Segment a picture with an exported model, by OpenVINO, NumPy and Pillow alone.

mask2former export nuclei --format openvino --outputs result --output nuclei_openvino
python examples/openvino_picture.py nuclei_openvino cells.png cells_segmented.png
"""

import json
import sys

import numpy as np
import openvino
from PIL import Image, ImageOps

if len(sys.argv) != 4:
    sys.exit(__doc__)
model, source, target = sys.argv[1:]
core = openvino.Core()
network = core.read_model(f"{model}/model.xml")
compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
about = json.loads(network.get_rt_info(["mask2former"]).value)
if about["outputs"] != "result":
    sys.exit(f"{model} was exported without --outputs result")
categories, test = about["card"]["categories"], about["card"]["config"]["test"]

picture = ImageOps.exif_transpose(Image.open(source)).convert("RGB")  # 8 bits a channel
scale = min(test["short_edge"] / min(picture.size), test["max_size"] / max(picture.size))
if about["size"]:  # one size alone: the picture goes into its corner
    scale = min(scale, about["size"][1] / picture.width, about["size"][0] / picture.height)
sides = [max(1, round(scale * side)) for side in picture.size]
small = picture.resize(sides, Image.Resampling.BILINEAR)
height, width = about["size"] or [-(-side // 32) * 32 for side in (small.height, small.width)]
pixels = np.full((height, width, 3), about["card"]["config"]["model"]["mean"], np.float32)
pixels[: small.height, : small.width] = small

outputs = compiled(pixels.transpose(2, 0, 1)[None])
found = {name: outputs[port][0] for port in compiled.outputs for name in port.names}
colours = np.random.default_rng(0).integers(64, 256, (1000, 3), np.uint8)
drawn = pixels.astype(np.uint8)
if "masks" in found:  # instances, best first
    shown = found["scores"] >= test["show_threshold"]
    regions = list(zip(found["labels"][shown], found["masks"][shown], strict=True))
elif "segments" in found:  # a panoptic map
    numbers = np.flatnonzero(found["scores"])
    regions = [(found["labels"][n], found["segments"] == n + 1) for n in numbers]
else:  # a class for every pixel
    regions = [(label, found["labels"] == label) for label in np.unique(found["labels"])]
for number, (label, mask) in enumerate(regions):
    drawn[mask] = drawn[mask] // 2 + colours[number] // 2
    print(categories[label]["name"], int(mask.sum()), "pixels")
Image.fromarray(drawn[: small.height, : small.width]).save(target)
