"""The page of `weigh explain`."""

from __future__ import annotations

from weigh.report.answer import Answer
from weigh.report.bill import input_value
from weigh.report.text import Page
from weigh.report.units import LEGEND, shown
from weigh.types import Figure

HEADS = {
    "en": {"formula": "Formula", "worked": "For", "see": "See also", "sources": "Sources", "terms": "Terms"},
    "zh": {"formula": "公式", "worked": "以此模型为例：", "see": "参见", "sources": "来源", "terms": "术语"},
}


def page(answer: Answer) -> Page:
    """One term, or the list of all."""
    out = Page()
    heads = HEADS[answer.inputs["language"]]
    result = answer.result
    if "terms" in result:
        out.add(heads["terms"], ["", ""], [(row["id"], row["term"]) for row in result["terms"]])
        return out
    out.say(result["term"], result["text"])
    if result["formula"]:
        out.say(heads["formula"], result["formula"])
    lines = []
    for row in result["worked"]:
        figure: Figure = row["value"]
        lines.append(f"{row['name']} = {shown(figure)}")
        inputs = ", ".join(f"{key} = {input_value(value)}" for key, value in figure.why.inputs.items())
        lines.append(f"    {figure.why.formula}" + (f"; {inputs}" if inputs else ""))
    if lines:
        out.say(f"{heads['worked']} {answer.inputs['model']}", *lines, LEGEND)
    if result["see"]:
        out.say(heads["see"], ", ".join(f"{row['term']} ({row['id']})" for row in result["see"]))
    out.say(heads["sources"], *result["sources"])
    return out
