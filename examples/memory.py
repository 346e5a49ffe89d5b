"""An AI-OS memory: it stores texts, images and sounds, and searches across them after a restart."""

import argparse
from pathlib import Path

from llm_compression import MultimodalEmbeddingProvider, MultimodalStorage

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("memory", help="folder of the memory; run twice to see it remember")
parser.add_argument("--text", required=True, help="text model: a weight table, folder or hub id")
parser.add_argument("--clip", required=True, help="CLIP model, for texts and images together")
parser.add_argument("--audio", required=True, help="audio model, a Whisper encoder")
parser.add_argument("--notes", nargs="*", default=[], metavar="TEXT")
parser.add_argument("--images", nargs="*", default=[], metavar="FILE")
parser.add_argument("--sounds", nargs="*", default=[], metavar="FILE")
parser.add_argument("--about", default="a cat", help="text to look for")
parser.add_argument("--like", metavar="FILE", help="sound to look for")
args = parser.parse_args()
notes, images, sounds = map(list, map(dict.fromkeys, (args.notes, args.images, args.sounds)))

provider = MultimodalEmbeddingProvider(
    args.text, audio_model_path=args.audio, clip_model_path=args.clip
)
memory = MultimodalStorage(args.memory, provider)
memory.add_texts(notes, ids=notes, replace=True)  # told twice, remembered once
memory.add_images(images, ids=images, replace=True, modality="clip")
formats = [{"format": Path(file).suffix} for file in sounds]
memory.add_sounds(sounds, metadata=formats, ids=sounds, replace=True)

for match in memory.search(text=args.about, top_k=3):
    print(f"note   {match.score:.3f}  {match.source}")
for match in memory.search(text=args.about, modality="clip", kind="image", top_k=3):
    print(f"image  {match.score:.3f}  {match.source}")
for match in memory.search(audio=args.like, top_k=3) if args.like else []:
    print(f"sound  {match.score:.3f}  {match.source}")
