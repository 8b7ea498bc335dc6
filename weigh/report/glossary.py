"""The page of `weigh explain`."""

from __future__ import annotations

from weigh.report.answer import Answer
from weigh.report.bill import input_value, place
from weigh.report.text import Page
from weigh.report.units import LEGEND, LEGEND_ZH, shown
from weigh.types import Figure

HEADS = {
    "en": {
        "formula": "Formula",
        "worked": "For {model}",
        "setting": "on {place}, weights {weights}, KV cache {kv}, context {context:,}, batch {batch}, "
        "{prompt:,} tokens in, {output:,} out",
        "see": "See also",
        "sources": "Sources",
        "terms": "Terms",
        "warnings": "Warnings",
        "legend": LEGEND,
    },
    "zh": {
        "formula": "公式",
        "worked": "以 {model} 为例",
        "setting": "设备 {place}，权重 {weights}，KV 缓存 {kv}，上下文 {context:,}，批量 {batch}，"
        "输入 {prompt:,}，输出 {output:,}",
        "see": "参见",
        "sources": "来源",
        "terms": "术语",
        "warnings": "注意",
        "legend": LEGEND_ZH,
    },
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
    lines = [heads["setting"].format(place=place(result["setting"]), **result["setting"])] if result["setting"] else []
    for row in result["worked"]:
        figure: Figure = row["value"]
        lines.append(f"{row['name']} = {shown(figure)}")
        inputs = ", ".join(f"{key} = {input_value(value)}" for key, value in figure.why.inputs.items())
        lines.append(f"    {figure.why.formula}" + (f"; {inputs}" if inputs else ""))
    if result["worked"]:
        out.say(heads["worked"].format(model=answer.inputs["model"]), *lines, "", heads["legend"])
    out.say(heads["warnings"], *answer.warnings, style="warning")
    if result["see"]:
        out.say(heads["see"], ", ".join(f"{row['term']} ({row['id']})" for row in result["see"]))
    out.say(heads["sources"], *result["sources"])
    return out
