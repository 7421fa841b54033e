#!/usr/bin/env python3
"""A trace as text, from Jaeger's API: its link, and its spans with their tags and events,
each below its parent.

usage: trace.py JAEGER TRACE-ID     that one
       trace.py JAEGER TAG=VALUE    the newest of Understudy's that has a span with this tag
"""
import json
import sys
import urllib.parse
import urllib.request

# Of the exporter, and not of what was measured.
LEFT_OUT = {"otel.scope.name", "otel.scope.version"}


def ask(jaeger, path):
    with urllib.request.urlopen(f"{jaeger}/api/traces{path}", timeout=10) as answer:
        return json.load(answer).get("data") or []


def find(jaeger, tag, value):
    query = {"service": "understudy", "limit": 1, "lookback": "1h", "tags": json.dumps({tag: value})}
    return ask(jaeger, "?" + urllib.parse.urlencode(query))


def parent(span, within):
    """Jaeger has a span's parent and its links in one list."""
    for reference in span.get("references") or []:
        if reference["refType"] == "CHILD_OF" and reference["spanID"] in within:
            return reference["spanID"]
    return None


def tags(of):
    named = sorted((tag["key"], tag["value"]) for tag in of if tag["key"] not in LEFT_OUT)
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in named]


def lines(trace):
    """The spans in the order of their beginnings, parents before children."""
    spans = sorted(trace["spans"], key=lambda span: span["startTime"])
    known = {span["spanID"] for span in spans}

    def below(above, indent):
        for span in spans:
            if parent(span, known) != above:
                continue
            yield f"{indent}{span['operationName']} ({span['duration'] / 1000:.1f} ms)"
            yield from (f"{indent}  {tag}" for tag in tags(span["tags"]))
            for reference in span.get("references") or []:
                if reference["refType"] != "CHILD_OF":
                    yield f"{indent}  links to {reference['traceID']}"
            for event in span.get("logs") or []:
                yield f"{indent}  an event"
                yield from (f"{indent}    {tag}" for tag in tags(event["fields"]))
            yield from below(span["spanID"], indent + "    ")

    yield from below(None, "  ")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    jaeger, wanted = sys.argv[1].rstrip("/"), sys.argv[2]
    tag, is_tag, value = wanted.partition("=")
    traces = find(jaeger, tag, value) if is_tag else ask(jaeger, "/" + wanted)
    if not traces:
        print(f"  Jaeger has none with {wanted}")
    for trace in traces:
        print(f"  {jaeger}/api/traces/{trace['traceID']}")
        print("\n".join(lines(trace)))


if __name__ == "__main__":
    main()
