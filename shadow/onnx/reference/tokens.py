"""Token ids by other people's tokenizers, to compare `tokenizer.json` with.

Byte-level BPE goes through tiktoken over the GGUF file's merges, SentencePiece
models through sentencepiece itself over a model put together from the file's
pieces, scores and types. Texts hold no special tokens.

    tokens.py MODEL.gguf TEXTS.json IDS.json
"""

import json
import sys

from gguf import GGUFReader


def bytes_of_letters():
    """GPT-2's alphabet: one printable letter for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(b): b for b in kept}
    letters.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in kept)})
    return letters


def byte_level(tokens, merges):
    import tiktoken

    letters = bytes_of_letters()
    raw = lambda token: bytes(letters[c] for c in token)
    ranks = {bytes([b]): b for b in range(256)}
    for merge in merges:
        ranks.setdefault(raw(merge.replace(" ", "")), len(ranks))
    ids = {raw(t): i for i, t in enumerate(tokens) if all(c in letters for c in t)}
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    encoding = tiktoken.Encoding("gguf", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def encode(text):
        out, start = [], 0
        pieces = []
        for at, c in enumerate(text):  # smollm: each digit by itself
            if c.isnumeric():
                pieces += [text[start:at], c]
                start = at + 1
        for piece in [*pieces, text[start:]]:
            for rank in encoding.encode_ordinary(piece):
                out.append(ids[encoding.decode_single_token_bytes(rank)])
        return out

    return encode


def sentence_piece(tokens, scores, kinds):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb

    model = pb.ModelProto()
    for token, score, kind in zip(tokens, scores, kinds):
        piece = model.pieces.add()
        if kind == 4:  # llama.cpp keeps runs of spaces as spaces
            token = token.replace(" ", "\u2581")
        piece.piece, piece.score, piece.type = token, score, int(kind)
    model.trainer_spec.model_type = pb.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    for index, kind in enumerate(kinds):
        if kind == 2:
            model.trainer_spec.unk_id = index
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    return processor.encode


def main():
    path, texts, out = sys.argv[1:]
    fields = GGUFReader(path).fields
    key = lambda name: fields[f"tokenizer.ggml.{name}"].contents()
    if key("model") == "gpt2":
        encode = byte_level(key("tokens"), key("merges"))
    else:
        encode = sentence_piece(key("tokens"), key("scores"), key("token_type"))
    with open(texts) as f:
        ids = [encode(text) for text in json.load(f)]
    with open(out, "w") as f:
        json.dump(ids, f)


if __name__ == "__main__":
    main()
