"""Writes messages as the adapter's own template says.

The engine renders the same file with minijinja, so it keeps to what both write
alike: a loop, two fields, and newlines that no trimming changes.
"""

import hashlib
import re

import jinja2

# The part alone: no system text, no tools. No line break stands after a tag or
# at the end of the file, since readers differ in whether they trim those; the
# last one is written by an expression.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant{{ '\\n' }}"
)
STOP = "<|im_end|>"


def template_sha256() -> str:
    return hashlib.sha256(TEMPLATE.encode()).hexdigest()


_environment = jinja2.Environment(autoescape=False)
_template = _environment.from_string(TEMPLATE)


def breaker(tokenizer):
    """A function that breaks up control tokens in a text: a space after the first letter
    makes a text of them, and every other text stays as it is. The engine does the same
    to what it reads (`shadow/onnx/src/markers.rs`), so what stands in a page or a tool's
    result is no turn there, and taught as none here."""

    def marks(content: str) -> bool:
        return content in TEMPLATE and not content[:1].isalnum() and any(map(str.isalnum, content))

    added = tokenizer.get_added_tokens_decoder().values()
    texts = {t.content for t in added if t.special or marks(t.content)}
    texts.update(re.findall(r"<\|[\w./-]+\|>", TEMPLATE))
    texts = sorted(re.escape(t) for t in texts if len(t) > 1 and t.strip())
    marker = re.compile(f"(?=(?:{'|'.join(texts)})).", re.DOTALL)
    return lambda text: marker.sub(lambda found: found[0] + " ", text)


def render(messages, plain=str) -> str:
    """`plain` is done to each content."""
    return _template.render(messages=[{**m, "content": plain(m["content"])} for m in messages])
