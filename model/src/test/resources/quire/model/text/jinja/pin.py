#!/usr/bin/env python3
"""Renders templates with python3-jinja2, in the settings of Hugging Face transformers, and records the outputs.

    python3 pin.py                  templates/*.jinja -> templates.json, expressions.txt -> expressions.json
    python3 pin.py FOLDER           FOLDER/*.jinja    -> real.json: digests only (see README.md)

The tests compare with these files. Run it again after a change here or to a template; only the changed cases should differ.
"""
import datetime
import hashlib
import json
import pathlib
import re
import sys

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2025, 3, 7, 9, 5, 3, 42)


class Generation(Extension):
    """Replaces AssistantTracker of transformers: a block that renders its body in its own scope."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(lineno)

    def _body(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


def render(source, variables):
    """The text, or None if Python refuses."""
    try:
        return environment().from_string(source).render(**json.loads(json.dumps(variables)))
    except Exception as e:
        if "-v" in sys.argv:
            print(type(e).__name__, e, file=sys.stderr)
        return None


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Wetter für einen Ort <jetzt> & \"später\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's name"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "default": 3},
            },
            "required": ["city"],
        },
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search.\nTwo lines.",
        "parameters": {
            "type": "object",
            "properties": {
                "queries": {"type": "array", "items": {"type": "string"}},
                "filter": {"type": "object", "properties": {"since": {"type": ["string", "null"]}, "exact": {"type": "boolean"}}},
                "ratio": {"type": "number", "maximum": 0.5},
            },
            "required": [],
        },
        "return": {"type": "array", "items": {"type": "object"}},
    },
}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def call(name, arguments, id="abcdef123"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(text, **more):
    return {"role": "tool", "content": text, **more}


PARTS = [{"type": "text", "text": "What is "}, {"type": "image"}, {"type": "text", "text": "this?"}]
CALLED = [
    system("You are terse."),
    user("Weather in Paris?"),
    assistant("", tool_calls=[call("get_weather", {"city": "Paris", "days": 2, "unit": None, "exact": True, "ratio": 0.5})]),
    tool('{"temperature": 21.5}', tool_call_id="abcdef123", name="get_weather"),
]


def conversation(name, messages, generate=True, tools=None, **variables):
    return {"name": name, "messages": messages, "tools": tools or [], "generate": generate, "variables": variables}


CONVERSATIONS = [
    conversation("single", [user("Hello")]),
    conversation("single, no generation", [user("Hello")], False),
    conversation("system", [system("You are a pirate."), user("Hello")]),
    conversation("turns", [user("Hi"), assistant("Hello!"), user("How are you?")]),
    conversation("turns, no generation", [system("Be nice."), user("Hi"), assistant("Hello!"), user("Bye"), assistant("Bye.")], False),
    conversation("ends with assistant", [user("Hi"), assistant("Hel")], False),
    conversation("unicode", [system("Sei höflich 🙂"), user("naïve ✓ 日本語 \u00a0x\u2028y"), assistant("𝒳\u0301"), user("\U0001F600\U0001F601")]),
    conversation("spaces", [system("  padded\n"), user("  lead\n\n trail \t\n"), assistant("\n\n x \n"), user(" ")]),
    conversation("empty", [system(""), user(""), assistant(""), user("")]),
    conversation("looks like jinja", [user("{{ bos_token }} {% if x %} {# no #} {{ '{{' }}\\n<b>&amp;'\"")]),
    conversation("thinking", [user("1+1?"), assistant("<think>\nTwo.\n</think>\n\n2"), user("2+2?"), assistant("<think>f</think>4", reasoning_content="Four."), user("3+3?")]),
    conversation("thinking off", [user("1+1?"), assistant("\n<think>\n\n</think>\n\n2"), user("2+2?")], enable_thinking=False),
    conversation("thinking on", [system("/no_think s"), user("1+1?")], enable_thinking=True, reasoning_effort="high"),
    conversation("reasoning field", [user("q"), assistant("a", reasoning_content="because", thinking="t"), user("r"), assistant("b", reasoning_content="\nwhy\n")], False),
    conversation("tools", [user("Weather?")], tools=[WEATHER]),
    conversation("tools, system", [system("You are terse."), user("Weather?"), assistant("Where?"), user("Here.")], tools=[WEATHER, SEARCH]),
    conversation("tool call", CALLED, tools=[WEATHER]),
    conversation("tool call answered", CALLED + [assistant("21.5 degrees."), user("Thanks")], tools=[WEATHER, SEARCH]),
    conversation("tool call, null content", [user("w?"), {"role": "assistant", "content": None, "tool_calls": [call("get_weather", {"city": "Köln"})]}, tool("sunny", tool_call_id="abcdef123")], tools=[WEATHER]),
    conversation("tool call, no content", [user("w?"), {"role": "assistant", "tool_calls": [call("get_weather", '{"city": "Rome"}')]}, tool("sunny", tool_call_id="abcdef123")], tools=[WEATHER]),
    conversation("two calls", [user("w?"), assistant("Let me see.", tool_calls=[call("get_weather", {"city": "A"}, "aaaaaaaa1"), call("search", {"queries": ["x", "y"], "filter": {"exact": False}}, "bbbbbbbb2")]), tool("1", tool_call_id="aaaaaaaa1"), tool("2", tool_call_id="bbbbbbbb2"), assistant("Done."), user("ok")], tools=[WEATHER, SEARCH]),
    conversation("tool result a dict", [user("w?"), assistant("", tool_calls=[call("get_weather", {})]), {"role": "tool", "name": "get_weather", "content": {"t": 1.5, "ok": True, "n": None}}], tools=[WEATHER]),
    conversation("roles do not alternate", [user("a"), user("b"), assistant("c")]),
    conversation("begins with assistant", [assistant("a"), user("b")]),
    conversation("system twice", [system("a"), system("b"), user("c")]),
    conversation("unknown role", [{"role": "narrator", "content": "Once"}, user("c")]),
    conversation("developer", [{"role": "developer", "content": "Dev."}, user("c")]),
    conversation("parts", [system("s"), {"role": "user", "content": PARTS}]),
    conversation("parts, all", [{"role": "system", "content": [{"type": "text", "text": "s"}]}, {"role": "user", "content": [{"type": "text", "text": "u"}]}, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}, {"role": "user", "content": [{"type": "text", "text": " v "}]}]),
    conversation("no messages", []),
    conversation("no content", [{"role": "user"}]),
    conversation("date and flags", [system("s"), user("u")], tools=[WEATHER], date_string="01 Jan 2030", tools_in_user_message=False, builtin_tools=["wolfram_alpha", "code_interpreter"], add_default_system_prompt=True),
    conversation("documents", [user("u"), assistant("a"), user("q")], documents=[{"title": "T1", "text": "one"}, {"title": "T2", "text": "two", "doc_id": 7}]),
    conversation("long", [m for i in range(12) for m in (user(f"q{i} " * i), assistant(f"a{i}\n" * i))] + [user("end")]),
]


def variables(case):
    return {
        "messages": case["messages"],
        "tools": case["tools"] or None,
        "documents": None,
        "add_generation_prompt": case["generate"],
        "bos_token": "<s>",
        "eos_token": "</s>",
        **case["variables"],
    }


def outputs(path):
    source = path.read_text(encoding="utf-8")
    return [render(source, variables(case)) for case in CONVERSATIONS]


def digest(text):
    return None if text is None else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def lines(items):
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"


def write(name, text):
    json.loads(text)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def pin_templates():
    rendered = [
        f"{json.dumps(path.name)}: {lines(outputs(path))}" for path in sorted((HERE / "templates").glob("*.jinja"))
    ]
    write(
        "templates.json",
        f'{{"conversations": {lines(CONVERSATIONS)},\n"templates": {{\n' + ",\n".join(rendered) + "\n}}",
    )


def pin_expressions():
    """One case for each line, and one for each {{ … }} of the line, so that a refused expression hides no other."""
    escapes = {"\\\\": "\\", "\\n": "\n", "\\t": "\t", "\\r": "\r"}
    sources = {}
    for line in (HERE / "expressions.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            source = re.sub(r"\\[\\ntr]", lambda m: escapes[m[0]], line)
            sources[source] = None
            if "{%" not in source and "{#" not in source:
                sources.update(dict.fromkeys(re.findall(r"\{\{.*?\}\}(?!\})", source, re.S)))
    cases = [[source, render(source, EXPRESSION_VARIABLES)] for source in sources]
    write("expressions.json", f'{{"variables": {json.dumps(EXPRESSION_VARIABLES, ensure_ascii=False)},\n"cases": {lines(cases)}}}')


EXPRESSION_VARIABLES = {
    "s": "Hello, World",
    "pad": " \t x y \n",
    "empty": "",
    "uni": "aä€😀z",
    "n": 7,
    "neg": -3,
    "big": 123456789012345678901234567890,
    "f": 2.5,
    "tiny": 1e-7,
    "huge": 1e22,
    "t": True,
    "no": False,
    "nul": None,
    "l": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "nested": [[1, [2, "x"]], {"k": [None, True, 1.0]}],
    "d": {"b": 1, "a": {"x": [1, 2]}, "items": "shadow", "C": None},
    "long": 9223372036854775807,
    "json": '{"city": "K\\u00f6ln", "days": [1, 2.50, -3e2, 12345678901234567890], "x": {"y": null, "z": true}}',
    "people": [
        {"name": "Bo", "age": 30, "tags": ["x"]},
        {"name": "al", "age": 25, "tags": []},
        {"name": "Cy", "age": 30, "boss": {"name": "Di"}},
    ],
}


def pin_real(folder):
    rows = []
    for path in sorted(folder.glob("*.jinja")):
        pins = [digest(text) for text in outputs(path)]
        rows.append({"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "outputs": pins})
    write("real.json", lines(rows))


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders:
        pin_real(pathlib.Path(folders[0]))
    else:
        pin_templates()
        pin_expressions()
