"""Writes messages as the adapter's own template says.

The engine renders the same file with minijinja, so it keeps to what both write
alike: a loop, two fields, and newlines that no trimming changes.
"""

import hashlib

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


def render(messages) -> str:
    return _template.render(messages=messages)
